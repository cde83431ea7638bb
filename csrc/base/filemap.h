/* A file mapped read-only, or a memory blob of the caller where there is no mapping. */
#ifndef PE_BASE_FILEMAP_H
#define PE_BASE_FILEMAP_H

#include "base/status.h"

typedef struct pe_filemap {
    const uint8_t *data;
    size_t size;
    bool mapped; /* false: the caller's memory, or an empty map */
} pe_filemap;

/* Refuses directories, empty files, and files past the address space. */
pe_status pe_filemap_open(const char *path, pe_filemap *out);
/* Whether the path names a folder. */
bool pe_filemap_is_folder(const char *path);
void pe_filemap_close(pe_filemap *map);

#endif
