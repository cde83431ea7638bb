/* What a session is made of, for the files of this layer. */
#ifndef PE_RUN_SESSION_H
#define PE_RUN_SESSION_H

#include "model/forward.h"

struct pe_session {
    pe_model *model;
    const pe_kernels *kernels;
    pe_pool *pool;
    pe_forward forward;
    pe_kvcache cache;
    uint32_t n_ctx, position;
    uint64_t memory_limit;
    int32_t *tokens; /* [token_capacity], the first `position` are valid */
    size_t token_capacity;
    float *logits; /* [n_vocab] of the last evaluated token */
    bool has_logits;
    atomic_bool cancelled;
    atomic_flag busy;
};

/* Take the session for this thread, or PE_ERR_BUSY; and give it back, passing `status` on. */
pe_status pe_session_enter(pe_session *s);
pe_status pe_session_leave(pe_session *s, pe_status status);
/* Have room for n tokens. */
pe_status pe_session_reserve_tokens(pe_session *s, size_t n);

#endif
