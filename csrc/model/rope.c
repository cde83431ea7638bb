#include "model/rope.h"

#include <math.h>

/* YaRN (https://arxiv.org/abs/2309.00071): of each frequency, how much is divided by the factor. What turns more than
 * yarn_fast times in the original context is kept, what turns less than yarn_slow times is divided. */
static double yarn_share(const pe_config *c, size_t i) {
    const double turns = c->n_ctx_original / (2 * 3.14159265358979323846), base = 2 * log(c->rope_base);
    double low = floor(c->n_rot * log(turns / c->yarn_fast) / base);
    double high = ceil(c->n_rot * log(turns / c->yarn_slow) / base);
    if (low < 0) low = 0;
    if (high > c->n_rot - 1) high = c->n_rot - 1;
    if (high - low < 0.001) high = low + 0.001;
    const double share = ((double)i - low) / (high - low);
    return share < 0 ? 0 : share > 1 ? 1 : share;
}

/* In float, as the reference implementations compute them: angle = position * (1 / base^(2i/n_rot)). */
void pe_rope_frequencies(const pe_model *model, size_t n_ctx, float *out) {
    const pe_config *c = &model->config;
    const size_t half = c->n_rot / 2;
    const float *divisors = n_ctx > c->n_ctx_original ? model->rope_long : model->rope_short;
    if (!divisors) divisors = model->rope_factors;
    for (size_t i = 0; i < half; i++) {
        const double exponent = 2.0 * (double)i / c->n_rot;
        float full = (float)(1.0 / pow(c->rope_base, exponent));
        if (c->rope_scaling == PE_SCALE_LINEAR) full *= 1.0f / c->rope_factor;
        if (c->rope_scaling == PE_SCALE_YARN) {
            const float share = (float)yarn_share(c, i);
            full = full / c->rope_factor * share + full * (1 - share);
        }
        if (divisors) full /= divisors[i];
        out[i] = full;
        out[half + i] = (float)(1.0 / pow(c->rope_base_window, exponent));
    }
}
