/* A model file of any format, told by its content, as the directory that the same model would have in GGUF: keys and
 * tensors under GGUF's names, pointing into the mapped bytes. What loads a model knows this directory and no format.
 *
 *   GGUF        gguf.h
 *   Nano        nano.h
 *   llama2.c    llama2c.h; its vocabulary is a file of its own
 *
 * Weights stay where they are. A tensor that does not lie there as rows of blocks says so (pe_gguf_tensor.layout). */
#ifndef PE_FORMAT_SOURCE_H
#define PE_FORMAT_SOURCE_H

#include "base/filemap.h"
#include "format/gguf.h"

/* `path` (NULL for bytes in memory) tells where other files of the model lie; `tokenizer` (NULL: tokenizer.bin beside
 * the model) is the vocabulary's path, and PE_ERR_ARG for a format that brings its own. */
pe_status pe_source_read(const pe_filemap *map, const char *path, const char *tokenizer, pe_gguf_row_size row_size,
                         pe_gguf *out);

#endif
