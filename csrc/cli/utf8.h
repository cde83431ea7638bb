/* Which bytes form a character (Unicode 15.0, table 3-7). */
#ifndef PE_CLI_UTF8_H
#define PE_CLI_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes of the character that starts with `first`; 0 where none starts so. */
static inline size_t utf8_size(unsigned char first) {
    return first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
}

/* Whether `byte` may be number `index` of the character that starts with `first`. */
static inline bool utf8_may_follow(unsigned char first, size_t index, unsigned char byte) {
    unsigned char low = 0x80, high = 0xbf;
    if (index == 1 && first == 0xe0) low = 0xa0;
    if (index == 1 && first == 0xed) high = 0x9f;
    if (index == 1 && first == 0xf0) low = 0x90;
    if (index == 1 && first == 0xf4) high = 0x8f;
    return byte >= low && byte <= high;
}

static const char utf8_replacement[] = "\xef\xbf\xbd";

#endif
