#include "format/json.h"

#include <math.h>
#include <string.h>

typedef struct cursor {
    const char *text;
    size_t size, at;
    pe_arena *arena;
} cursor;

static pe_status fail(const cursor *c, const char *what) {
    return pe_fail(PE_ERR_FORMAT, "byte %zu: %s", c->at, c->at < c->size ? what : "the text ends too early");
}

static void skip_space(cursor *c) {
    while (c->at < c->size && strchr(" \t\n\r", c->text[c->at]) && c->text[c->at]) c->at++;
}

static bool take(cursor *c, char wanted) {
    if (c->at >= c->size || c->text[c->at] != wanted) return false;
    c->at++;
    return true;
}

static bool take_word(cursor *c, const char *word) {
    const size_t n = strlen(word);
    if (c->size - c->at < n || memcmp(c->text + c->at, word, n) != 0) return false;
    c->at += n;
    return true;
}

/* ---- strings ---------------------------------------------------------------------------------------------------- */

static bool take_hex(cursor *c, uint32_t *out) {
    *out = 0;
    for (int i = 0; i < 4; i++, c->at++) {
        const char d = c->at < c->size ? c->text[c->at] : 0;
        const int value = d >= '0' && d <= '9'   ? d - '0'
                          : d >= 'a' && d <= 'f' ? d - 'a' + 10
                          : d >= 'A' && d <= 'F' ? d - 'A' + 10
                                                 : -1;
        if (value < 0) return false;
        *out = *out << 4 | (uint32_t)value;
    }
    return true;
}

static char *put_utf8(char *out, uint32_t c) {
    if (c < 0x80) {
        *out++ = (char)c;
    } else if (c < 0x800) {
        *out++ = (char)(0xC0 | c >> 6);
        *out++ = (char)(0x80 | (c & 63));
    } else if (c < 0x10000) {
        *out++ = (char)(0xE0 | c >> 12);
        *out++ = (char)(0x80 | (c >> 6 & 63));
        *out++ = (char)(0x80 | (c & 63));
    } else {
        *out++ = (char)(0xF0 | c >> 18);
        *out++ = (char)(0x80 | (c >> 12 & 63));
        *out++ = (char)(0x80 | (c >> 6 & 63));
        *out++ = (char)(0x80 | (c & 63));
    }
    return out;
}

/* After the backslash; a pair of surrogates is one character. */
static pe_status take_escape(cursor *c, char **out) {
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    const char letter = c->at < c->size ? c->text[c->at] : 0;
    const char *found = letter ? strchr(letters, letter) : NULL;
    if (found) {
        c->at++;
        *(*out)++ = meanings[found - letters];
        return PE_OK;
    }
    uint32_t code, low;
    if (!take(c, 'u') || !take_hex(c, &code)) return fail(c, "this escape is not known");
    if (code >= 0xD800 && code < 0xDC00) {
        if (!take_word(c, "\\u") || !take_hex(c, &low) || low < 0xDC00 || low > 0xDFFF)
            return fail(c, "half of a surrogate pair");
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    } else if (code >= 0xDC00 && code < 0xE000) {
        return fail(c, "half of a surrogate pair");
    }
    *out = put_utf8(*out, code);
    return PE_OK;
}

static pe_status take_string(cursor *c, pe_view *out) {
    if (!take(c, '"')) return fail(c, "expected a string");
    const size_t start = c->at;
    bool escaped = false;
    for (; c->at < c->size && c->text[c->at] != '"'; c->at++) {
        if ((unsigned char)c->text[c->at] < ' ') return fail(c, "a control character in a string");
        if (c->text[c->at] != '\\') continue;
        escaped = true;
        c->at++;
    }
    if (c->at >= c->size) return pe_fail(PE_ERR_FORMAT, "byte %zu: a string without an end", start - 1);
    const size_t end = c->at;
    *out = (pe_view){c->text + start, end - start};
    c->at = end + 1;
    if (!escaped) return PE_OK;
    char *copy = pe_arena_alloc(c->arena, end - start + 1, 1), *to = copy; /* no escape is shorter than its meaning */
    if (!copy) return PE_ERR_NOMEM;
    for (c->at = start; c->at < end;) {
        const char byte = c->text[c->at++];
        if (byte != '\\') {
            *to++ = byte;
            continue;
        }
        const pe_status status = take_escape(c, &to);
        if (status) return status;
    }
    c->at = end + 1;
    *out = (pe_view){copy, (size_t)(to - copy)};
    return PE_OK;
}

/* ---- numbers ---------------------------------------------------------------------------------------------------- */

static size_t take_digits(cursor *c, double *value, int *dropped) {
    size_t n = 0;
    for (; c->at < c->size && c->text[c->at] >= '0' && c->text[c->at] <= '9'; c->at++, n++) {
        if (*value < 1e17)
            *value = *value * 10 + (c->text[c->at] - '0');
        else
            ++*dropped;
    }
    return n;
}

/* Not strtod, which asks the locale how a point looks. Exact for what has 15 digits and a small exponent. */
static pe_status take_number(cursor *c, double *out) {
    const bool negative = take(c, '-');
    double value = 0;
    int dropped = 0, lost = 0;
    const size_t start = c->at, digits = take_digits(c, &value, &dropped);
    if (digits == 0 || (digits > 1 && c->text[start] == '0')) return fail(c, "expected a value");
    long exponent = dropped;
    if (take(c, '.')) {
        const size_t places = take_digits(c, &value, &lost);
        if (places == 0) return fail(c, "expected a digit");
        exponent -= (long)places - lost;
    }
    if (take(c, 'e') || take(c, 'E')) {
        const bool down = take(c, '-');
        double said = 0;
        int ignored = 0;
        if (!down) take(c, '+');
        if (take_digits(c, &said, &ignored) == 0) return fail(c, "expected a digit");
        const long shift = said > 9999 ? 9999 : (long)said;
        exponent += down ? -shift : shift;
    }
    if (exponent < 0)
        value = exponent > -300 ? value / pow(10, (double)-exponent) : 0;
    else if (exponent > 0 && value != 0)
        value *= pow(10, (double)exponent);
    *out = negative ? -value : value;
    return PE_OK;
}

/* ---- values ----------------------------------------------------------------------------------------------------- */

static pe_status take_value(cursor *c, int depth, pe_json *out);

/* Items of a list or members of an object, up to the closing bracket. */
static pe_status take_items(cursor *c, int depth, char close, pe_json *out) {
    pe_json **link = &out->first;
    if (depth == PE_JSON_DEPTH) return fail(c, "nested too deep");
    skip_space(c);
    if (take(c, close)) return PE_OK;
    do {
        pe_json *item = pe_arena_alloc(c->arena, 1, sizeof *item);
        if (!item) return PE_ERR_NOMEM;
        pe_status status;
        skip_space(c);
        if (close == '}') {
            if ((status = take_string(c, &item->key))) return status;
            skip_space(c);
            if (!take(c, ':')) return fail(c, "expected ':'");
        }
        if ((status = take_value(c, depth + 1, item))) return status;
        *link = item;
        link = &item->next;
        out->count++;
        skip_space(c);
    } while (take(c, ','));
    return take(c, close) ? PE_OK : fail(c, close == '}' ? "expected ',' or '}'" : "expected ',' or ']'");
}

static pe_status take_value(cursor *c, int depth, pe_json *out) {
    skip_space(c);
    const char next = c->at < c->size ? c->text[c->at] : 0;
    if (next == '{' || next == '[') {
        c->at++;
        out->type = next == '{' ? PE_JSON_OBJECT : PE_JSON_LIST;
        out->first = NULL;
        return take_items(c, depth, next == '{' ? '}' : ']', out);
    }
    if (next == '"') {
        out->type = PE_JSON_STRING;
        return take_string(c, &out->text);
    }
    if (take_word(c, "null")) return PE_OK; /* which is what a fresh node is */
    out->type = PE_JSON_BOOL;
    if ((out->truth = take_word(c, "true")) || take_word(c, "false")) return PE_OK;
    out->type = PE_JSON_NUMBER;
    if (take_word(c, "NaN")) {
        out->number = NAN;
        return PE_OK;
    }
    const bool negative = take_word(c, "-Infinity");
    if (negative || take_word(c, "Infinity")) {
        out->number = negative ? -INFINITY : INFINITY;
        return PE_OK;
    }
    return take_number(c, &out->number);
}

pe_status pe_json_parse(const char *text, size_t size, pe_arena *arena, pe_json **out) {
    cursor c = {text, size, 0, arena};
    *out = NULL;
    if (size > PE_JSON_BYTES)
        return pe_fail(PE_ERR_UNSUPPORTED, "%zu bytes of JSON; at most %d are read", size, PE_JSON_BYTES);
    pe_json *root = pe_arena_alloc(arena, 1, sizeof *root);
    if (!root) return PE_ERR_NOMEM;
    const pe_status status = take_value(&c, 0, root);
    if (status) return status;
    skip_space(&c);
    if (c.at < size) return pe_fail(PE_ERR_FORMAT, "byte %zu: more text after the end of the value", c.at);
    *out = root;
    return PE_OK;
}

static bool view_is(pe_view view, const char *text) {
    return view.size == strlen(text) && memcmp(view.data, text, view.size) == 0;
}

const pe_json *pe_json_member(const pe_json *object, const char *key) {
    const pe_json *found = NULL;
    if (object->type != PE_JSON_OBJECT) return NULL;
    for (const pe_json *m = object->first; m; m = m->next)
        if (view_is(m->key, key)) found = m;
    return found;
}

bool pe_json_whole(const pe_json *value, uint64_t *out) {
    if (!value || value->type != PE_JSON_NUMBER || !(value->number >= 0) || value->number > 0x1p53 ||
        floor(value->number) != value->number)
        return false;
    *out = (uint64_t)value->number;
    return true;
}

bool pe_json_is(const pe_json *value, const char *text) {
    return value && value->type == PE_JSON_STRING && view_is(value->text, text);
}
