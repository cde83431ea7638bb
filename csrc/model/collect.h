/* Sums of squares of what each matrix multiplies, kept while a session evaluates: from them, importance matrices. */
#ifndef PE_MODEL_COLLECT_H
#define PE_MODEL_COLLECT_H

#include "model/forward.h"

typedef struct pe_collected_tensor {
    double *sums;     /* [matrices, columns]; NULL: no matrix */
    uint64_t *counts; /* [matrices] inputs that were summed */
} pe_collected_tensor;

typedef struct pe_collect {
    pe_collected_tensor *tensors; /* as in the file's directory */
    pe_arena arena;
} pe_collect;

pe_status pe_collect_create(const pe_model *model, pe_collect **out);
void pe_collect_free(pe_collect *collect);
/* The input of a product, for each of its weights; those that are rows of one tensor count once. */
void pe_collect_add(const pe_forward *forward, const pe_act *input, size_t n, const pe_weight *const weights[]);

#endif
