/* Decoding by the table of well-formed sequences in the Unicode standard (chapter 3, table 3-7): overlong forms,
 * surrogates and values past U+10FFFF are refused by the range of the second byte. */
#include "text/unicode.h"
#include "text/unicode_data.h"

/* The first 128 entries of the table below, unpacked: most text never leaves them. */
#define O PE_CLASS_OTHER
#define U PE_CLASS_UPPER
#define L PE_CLASS_LOWER
#define N PE_CLASS_NUMBER
#define P PE_CLASS_PUNCTUATION
#define S PE_CLASS_SYMBOL
#define W PE_CLASS_SPACE
// clang-format off
const uint8_t pe_ascii_class[128] = {
    O, O, O, O, O, O, O, O, O, W, W, W, W, W, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O,
    W, P, P, P, S, P, P, P, P, P, P, S, P, P, P, P, N, N, N, N, N, N, N, N, N, N, P, P, S, S, S, P,
    P, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, P, P, P, S, P,
    S, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, P, S, P, S, O,
};
// clang-format on
#undef O
#undef U
#undef L
#undef N
#undef P
#undef S
#undef W

static inline bool is_tail(uint8_t byte) { return (byte & 0xC0) == 0x80; }

size_t pe_utf8_decode(const char *text, size_t size, uint32_t *code_point) {
    const uint8_t *s = (const uint8_t *)text;
    uint8_t first = s[0];
    if (first < 0x80) {
        *code_point = first;
        return 1;
    }
    *code_point = PE_NO_CHARACTER;
    if (first < 0xC2 || first > 0xF4 || size < 2) return 1;
    if (first < 0xE0) {
        if (!is_tail(s[1])) return 1;
        *code_point = (uint32_t)(first & 0x1F) << 6 | (s[1] & 0x3F);
        return 2;
    }
    uint8_t low = 0x80, high = 0xBF;
    if (first == 0xE0) low = 0xA0;
    if (first == 0xED) high = 0x9F;
    if (first == 0xF0) low = 0x90;
    if (first == 0xF4) high = 0x8F;
    if (s[1] < low || s[1] > high || size < 3 || !is_tail(s[2])) return 1;
    if (first < 0xF0) {
        *code_point = (uint32_t)(first & 0x0F) << 12 | (uint32_t)(s[1] & 0x3F) << 6 | (s[2] & 0x3F);
        return 3;
    }
    if (size < 4 || !is_tail(s[3])) return 1;
    *code_point =
        (uint32_t)(first & 0x07) << 18 | (uint32_t)(s[1] & 0x3F) << 12 | (uint32_t)(s[2] & 0x3F) << 6 | (s[3] & 0x3F);
    return 4;
}

size_t pe_utf8_length(const char *text, size_t size) {
    uint32_t code_point;
    return pe_utf8_decode(text, size, &code_point);
}

pe_class pe_unicode_class(uint32_t code_point) {
    if (code_point >= PE_NO_CHARACTER) return PE_CLASS_OTHER;
    uint8_t pair = pe_unicode_blocks[pe_unicode_index[code_point >> 8]][(code_point & 255) >> 1];
    return (pe_class)(code_point & 1 ? pair >> 4 : pair & 15);
}
