/* Bytes that belong to someone else: a string in the model file, not NUL-terminated. */
#ifndef PE_BASE_VIEW_H
#define PE_BASE_VIEW_H

#include <stddef.h>

typedef struct pe_view {
    const char *data;
    size_t size;
} pe_view;

#endif
