/* A dictionary from texts to token ids: a hash table of ids alone, open addressing, whose keys stay where they are. It
 * answers exact lookups (pieces, the two sides of a merge); longest matches are for the trie.
 *
 * A place holds the id in its lower 24 bits and above it eight bits of the key's hash, never all zero, so that other
 * keys met on the way are passed without a look at their text. 0 is an empty place. */
#ifndef PE_TEXT_DICTIONARY_H
#define PE_TEXT_DICTIONARY_H

#include "base/arena.h"
#include "base/status.h"
#include "base/view.h"

#include <string.h>

enum { PE_DICTIONARY_MAX_KEYS = 1 << 24 };

typedef struct pe_dictionary {
    const pe_view *views;    /* [n_ids] keys by id, or NULL: */
    const char *bytes;       /* key of an id: bytes[offsets[id]..offsets[id + 1]] */
    const uint32_t *offsets; /* [n_ids + 1] */
    uint32_t *places;        /* [mask + 1] */
    uint32_t mask, shift;
    size_t longest; /* bytes of the longest key */
    uint64_t steps; /* left before the keys count as chosen to collide */
} pe_dictionary;    /* zero-initialised is valid and empty */

/* A hash table's places, all 0. Written once: a page that is first read and then written costs the system twice. */
uint32_t *pe_table_alloc(pe_arena *arena, size_t n);

/* Room for n_keys <= PE_DICTIONARY_MAX_KEYS keys. `views`, or `bytes` and `offsets`, are set by the caller. */
pe_status pe_dictionary_create(pe_dictionary *dictionary, pe_arena *arena, size_t n_keys);
/* Add the key of `id`, not empty; of equal keys the first one stays. PE_ERR_UNSUPPORTED where so many keys share their
 * hashes that lookups would be slow, which happens to no vocabulary by chance. */
pe_status pe_dictionary_add(pe_dictionary *dictionary, int32_t id);

/* ---- lookup ----------------------------------------------------------------------------------------------------- */

static inline pe_view pe_dictionary_key(const pe_dictionary *dictionary, uint32_t id) {
    if (dictionary->views) return dictionary->views[id];
    uint32_t start = dictionary->offsets[id];
    return (pe_view){dictionary->bytes + start, dictionary->offsets[id + 1] - start};
}

static inline uint64_t pe_mix(uint64_t hash, uint64_t word) {
    hash = (hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
    return hash ^ hash >> 32;
}

/* The upper bits are the good ones. */
static inline uint64_t pe_hash_bytes(const char *data, size_t size) {
    uint64_t hash = size, word = 0;
    for (; size > 8; data += 8, size -= 8) {
        memcpy(&word, data, 8);
        hash = pe_mix(hash, word);
    }
    if (size >= 4) { /* two halves that may overlap */
        uint32_t low, high;
        memcpy(&low, data, 4);
        memcpy(&high, data + size - 4, 4);
        word = low | (uint64_t)high << 32;
    } else if (size) {
        word = (uint8_t)data[0] | (uint32_t)(uint8_t)data[size / 2] << 8 | (uint32_t)(uint8_t)data[size - 1] << 16;
    }
    return pe_mix(hash, word) * UINT64_C(0xD6E8FEB86659FD93);
}

static inline uint32_t pe_dictionary_tag(const pe_dictionary *dictionary, uint64_t hash) {
    return ((uint32_t)(hash >> (dictionary->shift - 8)) & 0xFF) | 1;
}

/* The id of exactly this key, or -1. */
static inline int32_t pe_dictionary_find(const pe_dictionary *dictionary, const char *data, size_t size) {
    if (size - 1 >= dictionary->longest) return -1; /* also for an empty key */
    const uint64_t hash = pe_hash_bytes(data, size);
    const uint32_t tag = pe_dictionary_tag(dictionary, hash);
    for (uint32_t place = (uint32_t)(hash >> dictionary->shift);; place = (place + 1) & dictionary->mask) {
        const uint32_t entry = dictionary->places[place];
        if (entry == 0) return -1;
        if (entry >> 24 != tag) continue;
        const pe_view key = pe_dictionary_key(dictionary, entry & 0xFFFFFF);
        if (key.size == size && memcmp(key.data, data, size) == 0) return (int32_t)(entry & 0xFFFFFF);
    }
}

#endif
