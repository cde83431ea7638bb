/* The sentence behind a failed call, one per thread.
 *
 * Messages carry names taken from model files, so they are cleaned here, once, for every caller: what pe_last_error()
 * returns is always valid UTF-8 without control characters, safe to show in a terminal and to hand to Python. */
#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#ifndef PE_VERSION
#define PE_VERSION "0.1.0"
#endif

enum { MESSAGE_BYTES = 1024 };

static _Thread_local char last_message[MESSAGE_BYTES];

const char *pe_last_error(void) { return last_message; }

const char *pe_version(void) { return PE_VERSION; }

/* Length of the well-formed, printable UTF-8 sequence at s, or 0. The terminating NUL stops a sequence cut short. */
static size_t printable_sequence(const unsigned char *s) {
    if (s[0] >= 0x20 && s[0] < 0x7f) return 1;
    size_t length = s[0] >= 0xc2 && s[0] < 0xe0   ? 2
                    : s[0] >= 0xe0 && s[0] < 0xf0 ? 3
                    : s[0] >= 0xf0 && s[0] < 0xf5 ? 4
                                                  : 0;
    for (size_t i = 1; i < length; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    bool c1_control = s[0] == 0xc2 && s[1] < 0xa0;
    bool overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
    bool surrogate = s[0] == 0xed && s[1] > 0x9f;
    bool past_unicode = s[0] == 0xf4 && s[1] > 0x8f;
    return c1_control || overlong || surrogate || past_unicode ? 0 : length;
}

static void clean(char *text) {
    for (unsigned char *s = (unsigned char *)text; *s;) {
        size_t length = printable_sequence(s);
        if (length == 0) {
            *s = '?';
            length = 1;
        }
        s += length;
    }
}

pe_status pe_fail(pe_status status, const char *format, ...) {
    char text[MESSAGE_BYTES]; /* apart from last_message, which may be among the arguments */
    va_list args;
    va_start(args, format);
    if (vsnprintf(text, sizeof text, format, args) < 0) text[0] = 0;
    va_end(args);
    clean(text);
    memcpy(last_message, text, sizeof text);
    return status;
}

pe_status pe_fail_within(pe_status status, const char *format, ...) {
    char text[MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    int prefix = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (prefix < 0) prefix = 0;
    /* A long prefix must not push the reason out: it gives way first. */
    const int prefix_limit = MESSAGE_BYTES / 2;
    if (prefix > prefix_limit) {
        prefix = prefix_limit;
        memcpy(text + prefix - 3, "...", 3);
    }
    size_t room = sizeof text - (size_t)prefix;
    size_t reason = strlen(last_message);
    if (prefix > 0 && room > 2) {
        memcpy(text + prefix, ": ", 2);
        prefix += 2;
        room -= 2;
    }
    if (reason > room - 1) reason = room - 1;
    memcpy(text + prefix, last_message, reason);
    text[(size_t)prefix + reason] = 0;
    clean(text);
    memcpy(last_message, text, (size_t)prefix + reason + 1);
    return status;
}
