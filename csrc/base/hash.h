/* A 64-bit hash of bytes: FNV-1a over words of 8, the rest byte by byte. It tells files and adapters apart and finds
 * accidents; it is no signature. */
#ifndef PE_BASE_HASH_H
#define PE_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define PE_HASH_START 0xcbf29ce484222325u

static inline uint64_t pe_hash_mix(uint64_t hash, const void *data, size_t size) {
    const uint8_t *p = (const uint8_t *)data;
    for (; size >= 8; p += 8, size -= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        hash = (hash ^ word) * 0x100000001b3;
        hash ^= hash >> 29;
    }
    for (; size; p++, size--) hash = (hash ^ *p) * 0x100000001b3;
    return hash;
}

#endif
