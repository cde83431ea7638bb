/* Names of modules in Hugging Face's models, as adapters have them, to those of GGUF. One list serves all families: a
 * module is looked up in order, and the first whose tensor the architecture has is it. */
#include "model/adapter.h"

#include <string.h>

typedef struct pair {
    const char *module, *tensor;
} pair;

static const pair in_layer[] = {
    {"self_attn.q_proj", "attn_q"},
    {"self_attn.k_proj", "attn_k"},
    {"self_attn.v_proj", "attn_v"},
    {"self_attn.o_proj", "attn_output"},
    {"self_attn.out_proj", "attn_output"},
    {"self_attn.dense", "attn_output"},
    {"self_attn.qkv_proj", "attn_qkv"},
    {"self_attention.query_key_value", "attn_qkv"},
    {"self_attention.dense", "attn_output"},
    {"attention.query_key_value", "attn_qkv"},
    {"attention.dense", "attn_output"},
    {"attn.c_attn", "attn_qkv"},
    {"attn.c_proj", "attn_output"},
    {"attn.attention.q_proj", "attn_q"},
    {"attn.attention.k_proj", "attn_k"},
    {"attn.attention.v_proj", "attn_v"},
    {"attn.attention.out_proj", "attn_output"},
    {"attention.wo", "attn_output"},
    {"mlp.gate_proj", "ffn_gate"},
    {"mlp.up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"},
    {"mlp.gate_up_proj", "ffn_up"},
    {"mlp.c_fc", "ffn_up"},
    {"mlp.c_fc_0", "ffn_gate"},
    {"mlp.c_fc_1", "ffn_up"},
    {"mlp.fc1", "ffn_up"},
    {"mlp.fc2", "ffn_down"},
    {"mlp.c_proj", "ffn_down"},
    {"mlp.dense_h_to_4h", "ffn_up"},
    {"mlp.dense_4h_to_h", "ffn_down"},
    {"mlp.gate", "ffn_gate_inp"},
    {"block_sparse_moe.gate", "ffn_gate_inp"},
    {"block_sparse_moe.router.layer", "ffn_gate_inp"},
    {"feed_forward.gate", "ffn_gate_inp"},
    {"feed_forward.w1", "ffn_gate"},
    {"feed_forward.w2", "ffn_down"},
    {"feed_forward.w3", "ffn_up"},
    {"conv.in_proj", "shortconv.in_proj"},
    {"conv.out_proj", "shortconv.out_proj"},
    {"input_layernorm", "attn_norm"},
    {"operator_norm", "attn_norm"},
    {"attention_norm", "attn_norm"},
    {"ln_1", "attn_norm"},
    {"ln_attn", "attn_norm_2"},
    {"ln_mlp", "attn_norm"},
    {"post_self_attn_layernorm", "post_attention_norm"},
    {"post_mlp_layernorm", "post_ffw_norm"},
    {"post_attention_layernorm", "post_attention_norm"},
    {"post_attention_layernorm", "ffn_norm"},
    {"pre_feedforward_layernorm", "ffn_norm"},
    {"post_feedforward_layernorm", "post_ffw_norm"},
    {"ln_2", "ffn_norm"},
    {"ffn_norm", "ffn_norm"},
    {"self_attn.q_norm", "attn_q_norm"},
    {"self_attn.k_norm", "attn_k_norm"},
    {"self_attn.q_layernorm", "attn_q_norm"},
    {"self_attn.k_layernorm", "attn_k_norm"},
    {"self_attn.query_layernorm", "attn_q_norm"},
    {"self_attn.key_layernorm", "attn_k_norm"},
};

static const pair outside[] = {
    {"embed_tokens", "token_embd"},
    {"wte", "token_embd"},
    {"word_embeddings", "token_embd"},
    {"embed_in", "token_embd"},
    {"tok_embeddings", "token_embd"},
    {"lm_head", "output"},
    {"output_layer", "output"},
    {"embed_out", "output"},
    {"output", "output"},
    {"norm", "output_norm"},
    {"ln_f", "output_norm"},
    {"final_layernorm", "output_norm"},
    {"final_layer_norm", "output_norm"},
    {"embedding_norm", "token_embd_norm"},
};

/* What may stand before the layers, and before what is outside of them. */
static const char *const prefixes[] = {
    "",          "model.",          "transformer.",          "transformer.encoder.",  "transformer.embedding.",
    "gpt_neox.", "language_model.", "language_model.model.", "model.language_model.", "model.language_model.model."};

static bool is(pe_view view, const char *text) {
    return view.size == strlen(text) && memcmp(view.data, text, view.size) == 0;
}

static pe_view from(pe_view view, size_t n) { return (pe_view){view.data + n, view.size - n}; }

static bool begins(pe_view view, const char *text) {
    return view.size >= strlen(text) && memcmp(view.data, text, strlen(text)) == 0;
}

/* The rule of this name, its layer number left out. */
static const pe_tensor_rule *find_rule(const pe_model *model, const char *name, size_t size, bool layered) {
    for (size_t r = 0; r < model->arch->n_rules; r++) {
        const pe_tensor_rule *rule = &model->arch->rules[r];
        const bool in = strncmp(rule->name, "blk.%u.", 7) == 0;
        const char *rest = rule->name + (in ? 7 : 0);
        if (in == layered && strlen(rest) == size && memcmp(rest, name, size) == 0) return rule;
    }
    return NULL;
}

/* "12.rest": the number, of at most six digits, and what follows the dot. */
static bool read_layer(pe_view *view, uint32_t *layer) {
    size_t n = 0;
    *layer = 0;
    for (; n < view->size && n < 7 && view->data[n] >= '0' && view->data[n] <= '9'; n++)
        *layer = *layer * 10 + (uint32_t)(view->data[n] - '0');
    if (n == 0 || n == 7 || n >= view->size || view->data[n] != '.') return false;
    *view = from(*view, n + 1);
    return true;
}

/* Whether the layer exists and has a tensor of this rule. */
static const pe_tensor_rule *in_range(const pe_model *model, const pe_tensor_rule *rule, uint32_t layer) {
    return rule && layer < model->config.n_layer && pe_rule_belongs(model, rule, layer) ? rule : NULL;
}

const pe_tensor_rule *pe_adapter_tensor(const pe_model *model, pe_view name, uint32_t *layer) {
    *layer = 0;
    if (!begins(name, "blk.")) return find_rule(model, name.data, name.size, false);
    name = from(name, 4);
    if (!read_layer(&name, layer)) return NULL;
    return in_range(model, find_rule(model, name.data, name.size, true), *layer);
}

static const pe_tensor_rule *look_up(const pe_model *model, const pair *pairs, size_t n, pe_view module, bool layered) {
    for (size_t i = 0; i < n; i++) {
        if (!is(module, pairs[i].module)) continue;
        const pe_tensor_rule *rule = find_rule(model, pairs[i].tensor, strlen(pairs[i].tensor), layered);
        if (rule) return rule;
    }
    return NULL;
}

const pe_tensor_rule *pe_adapter_module(const pe_model *model, pe_view module, uint32_t *layer) {
    for (size_t p = 0; p < sizeof prefixes / sizeof *prefixes; p++) {
        if (!begins(module, prefixes[p])) continue;
        pe_view rest = from(module, strlen(prefixes[p]));
        *layer = 0;
        const pe_tensor_rule *rule = look_up(model, outside, sizeof outside / sizeof *outside, rest, false);
        if (rule) return rule;
        const size_t word = begins(rest, "layers.") ? 7 : begins(rest, "h.") ? 2 : 0;
        if (!word) continue;
        rest = from(rest, word);
        if (!read_layer(&rest, layer)) continue;
        rule = look_up(model, in_layer, sizeof in_layer / sizeof *in_layer, rest, true);
        if (rule) return in_range(model, rule, *layer);
    }
    return NULL;
}
