/* adapter_config.json of PEFT (https://huggingface.co/docs/peft): what it says about the arithmetic of a LoRA adapter.
 * What would change the result but is not computed is refused, not passed over. */
#ifndef PE_FORMAT_PEFT_H
#define PE_FORMAT_PEFT_H

#include "format/json.h"

typedef struct pe_peft {
    uint32_t rank;
    double alpha;
    bool rslora;                   /* alpha is divided by the square root of the rank, not by the rank */
    const pe_json *ranks, *alphas; /* objects of pattern -> number, or NULL */
    const char *text;              /* a copy of the document, where the patterns lie */
    pe_arena arena;
} pe_peft;

pe_status pe_peft_read(const char *text, size_t size, pe_peft *out);
void pe_peft_free(pe_peft *peft);
/* Of one module, by its name without the prefix of PEFT ("model.layers.0.self_attn.q_proj"): its rank, and the factor
 * that its product is multiplied with. */
pe_status pe_peft_scale(const pe_peft *peft, pe_view module, uint32_t *rank, float *scale);

#endif
