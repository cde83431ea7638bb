/* JSON (RFC 8259) as a tree, for the small documents that come with adapters: the header of a safetensors file and
 * adapter_config.json. Bounded in size, depth and memory by its input. Beyond the standard it reads NaN, Infinity and
 * -Infinity, which Python writes: whoever asks for a number can then name the key in its refusal. */
#ifndef PE_FORMAT_JSON_H
#define PE_FORMAT_JSON_H

#include "base/arena.h"
#include "base/status.h"
#include "base/view.h"

enum { PE_JSON_BYTES = 4 << 20, PE_JSON_DEPTH = 32 };

typedef enum pe_json_type {
    PE_JSON_NULL,
    PE_JSON_BOOL,
    PE_JSON_NUMBER,
    PE_JSON_STRING,
    PE_JSON_LIST,
    PE_JSON_OBJECT
} pe_json_type;

typedef struct pe_json {
    pe_json_type type;
    uint32_t count;       /* items of a list, members of an object */
    pe_view key;          /* of a member */
    struct pe_json *next; /* the next item or member */
    union {
        struct pe_json *first; /* of a list or an object */
        pe_view text;          /* escapes resolved; points into the input where it has none */
        double number;
        bool truth;
    };
} pe_json;

/* The one value of `text`, whose bytes must stay. PE_ERR_FORMAT says at which byte it is no JSON. */
pe_status pe_json_parse(const char *text, size_t size, pe_arena *arena, pe_json **out);
/* A member of an object, or NULL where it has none of this name. Of several the last, as Python takes it. */
const pe_json *pe_json_member(const pe_json *object, const char *key);
/* A whole number of at most 2^53. */
bool pe_json_whole(const pe_json *value, uint64_t *out);
bool pe_json_is(const pe_json *value, const char *text); /* this string */

#endif
