/* The public door to the sums of squares of a session. */
#include "model/collect.h"
#include "run/session.h"

pe_status pe_session_collect(pe_session *s, bool on) {
    pe_status status = pe_session_enter(s);
    if (status) return status;
    pe_collect *fresh = NULL;
    if (on) status = pe_collect_create(s->model, &fresh);
    if (!status) {
        pe_session_drop_ahead(s);
        pe_collect_free(s->forward.collect);
        s->forward.collect = fresh;
    }
    return pe_session_leave(s, status);
}

bool pe_session_collected(const pe_session *s, size_t index, pe_collected *out) {
    const pe_gguf *gguf = &s->model->gguf;
    if (!s->forward.collect || index >= gguf->n_tensors) return false;
    const pe_collected_tensor *from = &s->forward.collect->tensors[index];
    const pe_gguf_tensor *tensor = &gguf->tensors[index];
    *out = (pe_collected){tensor->name, tensor->dims[2], tensor->dims[0], from->sums, from->counts};
    return true;
}
