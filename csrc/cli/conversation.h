/* Messages to tokens, for generate and chat. */
#ifndef PE_CLI_CONVERSATION_H
#define PE_CLI_CONVERSATION_H

#include "cli/template.h"

/* The tokens of a conversation in the model's own template; CLI_FAILED after a message where it is not known. */
int cli_chat_ids(const pe_model *model, const cli_message *messages, size_t n_messages, cli_ids *out);
const char *cli_base_name(const char *path);

#endif
