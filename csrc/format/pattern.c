#include "format/pattern.h"

#include <string.h>

enum { MAX_STEPS = 100000, MAX_DEPTH = 400 };

typedef struct matcher {
    const char *name, *end; /* of the name */
    const char *start;      /* where "^" holds */
    int steps, depth;
    bool lost; /* too much work, or a pattern that is not understood */
} matcher;

/* What is left to match after a part: the text up to `end`, then the parts after the group that it is in. */
typedef struct rest {
    const char *at, *end;
    const struct rest *next;
} rest;

static bool match(matcher *m, const rest *r, const char *s);

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_word(char c) { return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

/* The end of the one part that starts at p: a character, an escape, a set or a group; NULL where it is none. */
static const char *part_end(const char *p, const char *end) {
    if (*p == '\\') return p + 1 < end ? p + 2 : NULL;
    if (*p == '[') {
        const char *q = p + 1;
        if (q < end && *q == '^') q++;
        if (q < end) q++; /* the first may be a bracket */
        while (q < end && *q != ']') q += *q == '\\' ? 2 : 1;
        return q < end ? q + 1 : NULL;
    }
    if (*p == '(') {
        int depth = 0;
        for (const char *q = p; q < end; q++) {
            if (*q == '\\')
                q++;
            else if (*q == '(')
                depth++;
            else if (*q == ')' && --depth == 0)
                return q + 1;
        }
        return NULL;
    }
    return strchr(")]{}*+?|", *p) ? NULL : p + 1;
}

static bool escape_has(matcher *m, char escape, char c) {
    if (escape == 'd') return is_digit(c);
    if (escape == 'w') return is_word(c);
    if (is_word(escape)) m->lost = true; /* \b, \s and their kin */
    return c == escape;
}

static bool set_has(matcher *m, const char *p, const char *end, char c) {
    const bool inverted = p < end && *p == '^';
    bool found = false;
    for (p += inverted; p < end; p++) {
        if (*p == '\\' && p + 1 < end) {
            found |= escape_has(m, *++p, c);
        } else if (p + 2 < end && p[1] == '-') {
            found |= c >= p[0] && c <= p[2];
            p += 2;
        } else {
            found |= c == *p;
        }
    }
    return found != inverted;
}

/* A single character against a part that is no group. */
static bool part_has(matcher *m, const char *p, const char *end, char c) {
    if (*p == '\\') return escape_has(m, p[1], c);
    if (*p == '[') return set_has(m, p + 1, end - 1, c);
    return *p == '.' || *p == c;
}

/* The alternatives of a group's inside, each followed by the rest. */
static bool match_group(matcher *m, const char *p, const char *end, const rest *next, const char *s) {
    if (end - p >= 2 && p[0] == '?' && p[1] == ':')
        p += 2;
    else if (p < end && *p == '?')
        m->lost = true; /* looking around */
    int depth = 0;
    for (const char *from = p;; p++) {
        if (p < end && *p == '\\') {
            p++;
            continue;
        }
        if (p < end) depth += *p == '(' ? 1 : *p == ')' ? -1 : 0;
        if (p < end && (*p != '|' || depth)) continue;
        const rest inside = {from, p < end ? p : end, next};
        if (match(m, &inside, s)) return true;
        if (p >= end) return false;
        from = p + 1;
    }
}

static bool match_part(matcher *m, const char *p, const char *end, const rest *next, const char *s) {
    if (*p == '(') return match_group(m, p + 1, end - 1, next, s);
    return s < m->end && part_has(m, p, end, *s) && match(m, next, s + 1);
}

/* A character `least` times or more, greedily: as many as there are, then fewer. */
static bool match_many(matcher *m, const char *p, const char *end, size_t least, const rest *after, const char *s) {
    if (*p == '(') m->lost = true;
    size_t n = 0;
    while (!m->lost && s + n < m->end && part_has(m, p, end, s[n])) n++;
    for (; n >= least && !m->lost; n--) {
        if (match(m, after, s + n)) return true;
        if (n == 0) break;
    }
    return false;
}

static bool match_here(matcher *m, const rest *r, const char *s) {
    while (r && r->at == r->end) r = r->next;
    if (!r) return s == m->end;
    if (*r->at == '^' || *r->at == '$') {
        const rest after = {r->at + 1, r->end, r->next};
        return s == (*r->at == '^' ? m->start : m->end) && match(m, &after, s);
    }
    const char *end = part_end(r->at, r->end);
    if (!end) {
        m->lost = true;
        return false;
    }
    const char mark = end < r->end ? *end : 0;
    const bool marked = mark == '*' || mark == '+' || mark == '?';
    const rest after = {end + marked, r->end, r->next};
    if (mark == '{' || (marked && after.at < r->end && strchr("*+?", *after.at))) m->lost = true;
    if (mark == '*' || mark == '+') return match_many(m, r->at, end, mark == '+', &after, s);
    if (match_part(m, r->at, end, &after, s)) return true;
    return mark == '?' && match(m, &after, s);
}

static bool match(matcher *m, const rest *r, const char *s) {
    if (m->lost || ++m->steps > MAX_STEPS || m->depth == MAX_DEPTH) {
        m->lost = true;
        return false;
    }
    m->depth++;
    const bool found = match_here(m, r, s);
    m->depth--;
    return found && !m->lost;
}

pe_status pe_pattern_match(pe_view pattern, pe_view name, bool *matches) {
    matcher m = {name.data, name.data + name.size, name.data, 0, 0, pattern.size > PE_PATTERN_BYTES};
    *matches = false;
    for (const char *s = name.data; s <= m.end && !*matches && !m.lost; s++)
        if (s == name.data || s[-1] == '.')
            *matches = match_group(&m, pattern.data, pattern.data + pattern.size, NULL, s);
    if (!m.lost) return PE_OK;
    const int shown = pattern.size < 64 ? (int)pattern.size : 64;
    return pe_fail(PE_ERR_UNSUPPORTED,
                   "the pattern '%.*s' has something other than characters, escapes, '.', sets, groups, and '*', '+' "
                   "or '?' after a character",
                   shown, pattern.data);
}
