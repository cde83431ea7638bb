/* Tensors that do not lie as rows of blocks in their file (see pe_layout), made into such rows in memory. Only small
 * formats need it; all others are read where they lie. */
#ifndef PE_MODEL_REPACK_H
#define PE_MODEL_REPACK_H

#include "base/arena.h"
#include "format/gguf.h"

/* Rows of tensor->type, exactly the file's weights: 36 bytes for 32 of Q8_F, 4 a weight for F32. */
pe_status pe_repack(pe_arena *arena, const pe_gguf_tensor *tensor, const uint8_t **data);

#endif
