/* Chat templates without Jinja: the families that most models use, recognised by the text of the file's own template. A
 * template that is of none of them is refused, since a conversation in a wrong form gives nonsense without a warning.
 */
#ifndef PE_CLI_TEMPLATE_H
#define PE_CLI_TEMPLATE_H

#include "cli/cli.h"

typedef struct cli_message {
    const char *role; /* "system", "user" or "assistant" */
    const char *content;
} cli_message;

/* The name of the family, or NULL where the template is of none that is known. */
const char *cli_template_family(const char *source);
/* Add the text of a conversation to `out`, with the opening of the next answer. Gives NULL, or a sentence that says why
 * the messages cannot be written so. bos and eos are the texts of these tokens, or "". */
const char *cli_template_render(const char *source, const char *bos, const char *eos, const cli_message *messages,
                                size_t n_messages, cli_text *out);

#endif
