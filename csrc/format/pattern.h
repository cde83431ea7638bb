/* The patterns of PEFT's rank_pattern and alpha_pattern: regular expressions of Python for names of modules, of which
 * this reads what such patterns are made of: characters, escapes (\. \d \w), ".", sets "[...]", groups "(a|b)", and
 * "*", "+" or "?" after any of them. The work is bounded: a pattern that backtracks without end is refused. */
#ifndef PE_FORMAT_PATTERN_H
#define PE_FORMAT_PATTERN_H

#include "base/status.h"
#include "base/view.h"

enum { PE_PATTERN_BYTES = 256 };

/* Whether `pattern` is the whole of `name` (not NUL-terminated), or all of it after one of its dots, as PEFT matches:
 * r"(.*\.)?(pattern)$". PE_ERR_UNSUPPORTED where the pattern has something else in it. */
pe_status pe_pattern_match(pe_view pattern, pe_view name, bool *matches);

#endif
