#include "format/peft.h"
#include "format/pattern.h"

#include <math.h>
#include <string.h>

enum { MAX_RANK = 1 << 16 };

static pe_status need_rank(const pe_json *value, const char *key, uint32_t *out) {
    uint64_t whole;
    if (!value) return pe_fail(PE_ERR_FORMAT, "'%s' is missing: the rank of the adapter", key);
    if (!pe_json_whole(value, &whole) || whole == 0 || whole > MAX_RANK)
        return pe_fail(PE_ERR_FORMAT, "'%s' is no whole number from 1 to %d", key, MAX_RANK);
    *out = (uint32_t)whole;
    return PE_OK;
}

static pe_status need_alpha(const pe_json *value, const char *key, double *out) {
    if (!value)
        return pe_fail(PE_ERR_FORMAT, "'%s' is missing: without it nothing says how strong the adapter is", key);
    if (value->type != PE_JSON_NUMBER || !isfinite(value->number))
        return pe_fail(PE_ERR_FORMAT, "'%s' is no finite number", key);
    *out = value->number;
    return PE_OK;
}

static bool is_off(const pe_json *value) {
    return !value || value->type == PE_JSON_NULL || (value->type == PE_JSON_BOOL && !value->truth) ||
           ((value->type == PE_JSON_LIST || value->type == PE_JSON_OBJECT) && value->count == 0);
}

/* Settings that make something else of the product than scale * B (A x). */
static pe_status refuse_variants(const pe_json *root) {
    static const struct {
        const char *key, *what;
    } variants[] = {
        {"use_dora", "DoRA, which rescales the rows of the base, is not supported; merge it with PEFT"},
        {"use_qalora", "QA-LoRA, which pools the input, is not supported"},
        {"use_bdlora", "BD-LoRA, with blocks of A and B, is not supported"},
        {"kasa_config", "KaSA is not supported"},
        {"monteclora_config", "MonteCLoRA is not supported"},
        {"arrow_config", "routing between adapters (Arrow) is not supported"},
        {"alora_invocation_tokens", "adapters that begin at a token (aLoRA) are not supported"},
        {"lora_bias", "a bias beside B is not supported"},
        {"layer_replication", "replicated layers are not supported"},
        {"target_parameters", "adapters of parameters, such as fused experts, are not supported"},
        {"trainable_token_indices", "single trained tokens are not supported"},
    };
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++)
        if (!is_off(pe_json_member(root, variants[i].key)))
            return pe_fail(PE_ERR_UNSUPPORTED, "'%s' is set: %s", variants[i].key, variants[i].what);
    /* These begin by changing the base weights, which a model file does not have changed. */
    static const char *const changed[] = {"pissa", "olora", "loftq", "corda", "lora_ga"};
    const pe_json *init = pe_json_member(root, "init_lora_weights");
    for (size_t i = 0; init && init->type == PE_JSON_STRING && i < sizeof changed / sizeof *changed; i++)
        if (init->text.size >= strlen(changed[i]) && memcmp(init->text.data, changed[i], strlen(changed[i])) == 0)
            return pe_fail(PE_ERR_UNSUPPORTED,
                           "'init_lora_weights' is %s: the adapter belongs to base weights that its training changed; "
                           "save it with path_initial_model_for_weight_conversion",
                           changed[i]);
    return PE_OK;
}

static pe_status read_patterns(const pe_json *root, const char *key, const pe_json **out) {
    const pe_json *value = pe_json_member(root, key);
    *out = NULL;
    if (is_off(value)) return PE_OK;
    if (value->type != PE_JSON_OBJECT) return pe_fail(PE_ERR_FORMAT, "'%s' is no object of names and numbers", key);
    *out = value;
    for (const pe_json *m = value->first; m; m = m->next) {
        uint32_t rank;
        double alpha;
        const pe_status status =
            strcmp(key, "rank_pattern") == 0 ? need_rank(m, key, &rank) : need_alpha(m, key, &alpha);
        if (status) return status;
    }
    return PE_OK;
}

static pe_status read_root(const pe_json *root, pe_peft *out) {
    pe_status status;
    if (root->type != PE_JSON_OBJECT) return pe_fail(PE_ERR_FORMAT, "it is no JSON object");
    const pe_json *type = pe_json_member(root, "peft_type");
    if (!type || type->type != PE_JSON_STRING)
        return pe_fail(PE_ERR_FORMAT, "'peft_type' is missing; LORA is expected");
    if (!pe_json_is(type, "LORA"))
        return pe_fail(PE_ERR_UNSUPPORTED, "'peft_type' is %.*s; only LORA is supported",
                       (int)(type->text.size < 32 ? type->text.size : 32), type->text.data);
    if ((status = refuse_variants(root))) return status;
    if ((status = need_rank(pe_json_member(root, "r"), "r", &out->rank))) return status;
    if ((status = need_alpha(pe_json_member(root, "lora_alpha"), "lora_alpha", &out->alpha))) return status;
    const pe_json *rslora = pe_json_member(root, "use_rslora");
    if (rslora && rslora->type != PE_JSON_BOOL && rslora->type != PE_JSON_NULL)
        return pe_fail(PE_ERR_FORMAT, "'use_rslora' is neither true nor false");
    out->rslora = !is_off(rslora);
    if ((status = read_patterns(root, "rank_pattern", &out->ranks))) return status;
    return read_patterns(root, "alpha_pattern", &out->alphas);
}

pe_status pe_peft_read(const char *text, size_t size, pe_peft *out) {
    *out = (pe_peft){0};
    pe_json *root;
    pe_status status = PE_ERR_NOMEM;
    out->text = pe_arena_string(&out->arena, text, size);
    if (out->text) status = pe_json_parse(out->text, size, &out->arena, &root);
    if (!status) status = read_root(root, out);
    if (status) pe_peft_free(out);
    return status;
}

void pe_peft_free(pe_peft *peft) {
    pe_arena_free(&peft->arena);
    *peft = (pe_peft){0};
}

/* The first pattern that matches, in the order of the document, as PEFT takes it. */
static pe_status find_pattern(const pe_json *patterns, pe_view module, const pe_json **out) {
    for (const pe_json *m = patterns ? patterns->first : NULL; m; m = m->next) {
        bool matches;
        const pe_status status = pe_pattern_match(m->key, module, &matches);
        if (status) return status;
        if (!matches) continue;
        *out = m;
        return PE_OK;
    }
    return PE_OK;
}

pe_status pe_peft_scale(const pe_peft *peft, pe_view module, uint32_t *rank, float *scale) {
    const pe_json *own_rank = NULL, *own_alpha = NULL;
    pe_status status = find_pattern(peft->ranks, module, &own_rank);
    if (!status) status = find_pattern(peft->alphas, module, &own_alpha);
    if (status) return status;
    *rank = own_rank ? (uint32_t)own_rank->number : peft->rank;
    const double alpha = own_alpha ? own_alpha->number : peft->alpha;
    *scale = (float)(alpha / (peft->rslora ? sqrt((double)*rank) : (double)*rank));
    return PE_OK;
}
