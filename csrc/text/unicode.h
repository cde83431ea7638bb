/* UTF-8 as it comes: any byte sequence is a sequence of characters here. A byte that does not start a well-formed
 * character is one character of its own of class OTHER, so that text passes through unchanged. */
#ifndef PE_TEXT_UNICODE_H
#define PE_TEXT_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum pe_class { /* general category by its first letter; White_Space comes before it */
                        PE_CLASS_OTHER = 0,
                        PE_CLASS_LETTER, /* without case: Lm, Lo */
                        PE_CLASS_MARK,
                        PE_CLASS_NUMBER,
                        PE_CLASS_PUNCTUATION,
                        PE_CLASS_SYMBOL,
                        PE_CLASS_SPACE,
                        PE_CLASS_UPPER, /* Lu, Lt */
                        PE_CLASS_LOWER, /* Ll */
} pe_class;

enum { /* sets of classes: bits by class */
       PE_UPPERS = 1 << PE_CLASS_UPPER,
       PE_LOWERS = 1 << PE_CLASS_LOWER,
       PE_CASELESS = 1 << PE_CLASS_LETTER,
       PE_LETTERS = PE_UPPERS | PE_LOWERS | PE_CASELESS,
       PE_MARKS = 1 << PE_CLASS_MARK,
       PE_NUMBERS = 1 << PE_CLASS_NUMBER,
       PE_PUNCTUATION = 1 << PE_CLASS_PUNCTUATION,
       PE_SYMBOLS = 1 << PE_CLASS_SYMBOL,
       PE_SPACES = 1 << PE_CLASS_SPACE,
       PE_OTHERS = 1 << PE_CLASS_OTHER,
       PE_ALL_CLASSES = 0x1FF,
};

enum { PE_NO_CHARACTER = 0x110000 }; /* the code point of a byte that is no character */

/* Bytes of the well-formed character at text [size > 0], 1 where there is none; its code point in *code_point. */
size_t pe_utf8_decode(const char *text, size_t size, uint32_t *code_point);
/* The same without the code point. */
size_t pe_utf8_length(const char *text, size_t size);

pe_class pe_unicode_class(uint32_t code_point);

extern const uint8_t pe_ascii_class[128];

/* Class of the character at text [size > 0], and its bytes. */
static inline pe_class pe_utf8_class(const char *text, size_t size, size_t *length) {
    uint8_t first = (uint8_t)*text;
    if (first < 128) {
        *length = 1;
        return (pe_class)pe_ascii_class[first];
    }
    uint32_t code_point;
    *length = pe_utf8_decode(text, size, &code_point);
    return pe_unicode_class(code_point);
}

#endif
