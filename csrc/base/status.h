/* Failure messages. A function that fails writes one sentence for its thread and returns the status. */
#ifndef PE_BASE_STATUS_H
#define PE_BASE_STATUS_H

#include "pyedge.h"

/* Set the calling thread's message (printf format; cut to 1023 bytes) and return `status`. */
pe_status pe_fail(pe_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Put "prefix: " before the message already set, for callers that know more (a file name, a key). */
pe_status pe_fail_within(pe_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
