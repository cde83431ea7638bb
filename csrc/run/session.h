/* What a session is made of, for the files of this layer. */
#ifndef PE_RUN_SESSION_H
#define PE_RUN_SESSION_H

#include "model/forward.h"
#include "run/lookup.h"

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
    float *rows;             /* [n_rows, n_vocab] one, until the session looks ahead */
    float *logits;           /* [n_vocab] of the last evaluated token: one of the rows */
    size_t n_rows, max_rows; /* max_rows: as many as looking ahead may take; 1: it does not */
    bool has_logits;
    uint32_t n_ahead; /* of tokens[position..], evaluated already: their cache and rows wait until they are asked for */
    pe_lookup lookup;
    pe_attachment *attached; /* [n_attached] adapters, each held by this session */
    size_t n_attached;
    uint64_t key, cache_key; /* of the set that is attached, and of the one that cache and logits were made with */
    uint64_t n_again;        /* tokens evaluated anew because of a change, */
    double seconds_again;    /* and how long that took */
    atomic_bool cancelled;
    atomic_flag busy;
};

/* Take the session for this thread, or PE_ERR_BUSY; and give it back, passing `status` on. */
pe_status pe_session_enter(pe_session *s);
pe_status pe_session_leave(pe_session *s, pe_status status);
/* Have room for n tokens. */
pe_status pe_session_reserve_tokens(pe_session *s, size_t n);
/* Have cache and logits be those of the adapters that are attached. */
pe_status pe_session_refresh(pe_session *s);
/* Let go of all adapters; attach those that another session has. */
void pe_session_detach(pe_session *s);
pe_status pe_session_attach_as(pe_session *s, const pe_session *other);
/* Evaluate the tokens of the timeline anew, into a new cache. */
pe_status pe_session_evaluate_again(pe_session *s);
/* Forget what was evaluated ahead: for whatever changes the timeline, or what a token gives. */
void pe_session_drop_ahead(pe_session *s);

#endif
