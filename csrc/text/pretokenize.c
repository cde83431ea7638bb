/* The pre-tokenisers by name. The expressions of their stages are those that the models publish; where a peer writes
 * them differently to please its own matcher (o200k's case by ASCII letters alone), the published form is followed. */
#include "text/pretokenize.h"
#include "text/unicode.h"

#include <string.h>

/* ---- characters ------------------------------------------------------------------------------------------------- */

/* DeepSeek LLM: letters with case, as of the Unicode version that it was made with, and without some scripts. */
static const pe_range cased_letters[] = {
    {0xB5, 0xB5},       {0xC0, 0xD6},       {0xD8, 0xF6},       {0xF8, 0x1BA},      {0x1BC, 0x1BF},
    {0x1C4, 0x293},     {0x295, 0x2AF},     {0x370, 0x373},     {0x376, 0x377},     {0x37B, 0x37D},
    {0x37F, 0x37F},     {0x386, 0x386},     {0x388, 0x38A},     {0x38C, 0x38C},     {0x38E, 0x3A1},
    {0x3A3, 0x3F5},     {0x3F7, 0x481},     {0x48A, 0x52F},     {0x531, 0x556},     {0x10A0, 0x10C5},
    {0x13A0, 0x13F5},   {0x13F8, 0x13FD},   {0x1C90, 0x1CBA},   {0x1CBD, 0x1CBF},   {0x1D00, 0x1D2B},
    {0x1D6B, 0x1D77},   {0x1D79, 0x1D9A},   {0x1E00, 0x1F15},   {0x1F18, 0x1F1D},   {0x1F20, 0x1F45},
    {0x1F48, 0x1F4D},   {0x1F50, 0x1F57},   {0x1F59, 0x1F59},   {0x1F5B, 0x1F5B},   {0x1F5D, 0x1F5D},
    {0x1F5F, 0x1F7D},   {0x1F80, 0x1FB4},   {0x1FB6, 0x1FBC},   {0x1FBE, 0x1FBE},   {0x1FC2, 0x1FC4},
    {0x1FC6, 0x1FCC},   {0x1FD0, 0x1FD3},   {0x1FD6, 0x1FDB},   {0x1FE0, 0x1FEC},   {0x1FF2, 0x1FF4},
    {0x1FF6, 0x1FFC},   {0x2102, 0x2102},   {0x2107, 0x2107},   {0x210A, 0x2113},   {0x2115, 0x2115},
    {0x2119, 0x211D},   {0x2124, 0x2124},   {0x2126, 0x2126},   {0x2128, 0x2128},   {0x212A, 0x212D},
    {0x212F, 0x2134},   {0x2139, 0x2139},   {0x213C, 0x213F},   {0x2145, 0x2149},   {0x214E, 0x214E},
    {0x2183, 0x2184},   {0x2C00, 0x2C7B},   {0x2C7E, 0x2CE4},   {0x2CEB, 0x2CEE},   {0x2CF2, 0x2CF3},
    {0xA640, 0xA66D},   {0xA680, 0xA69B},   {0xA722, 0xA76F},   {0xA771, 0xA787},   {0xA78B, 0xA78E},
    {0xAB70, 0xABBF},   {0xFB00, 0xFB06},   {0xFB13, 0xFB17},   {0xFF21, 0xFF3A},   {0xFF41, 0xFF5A},
    {0x10400, 0x1044F}, {0x104B0, 0x104D3}, {0x104D8, 0x104FB}, {0x10C80, 0x10CB2}, {0x10CC0, 0x10CF2},
    {0x118A0, 0x118DF}, {0x1E900, 0x1E943},
};
static const pe_range signs[] = {{0x2018, 0x201F}, {0x3000, 0x3002}, {0xFF01, 0xFF0F}, {0xFF1A, 0xFF5E}};
static const pe_range east_asian[] = {{0x800, 0x9FA5}, {0xAC00, 0xD7FF}};                 /* [一-龥ࠀ-一가-퟿] */
static const pe_range han_kana[] = {{0x3040, 0x30FF}, {0x4E00, 0x9FA5}};                  /* [一-龥぀-ゟ゠-ヿ] */
static const pe_range full_stops[] = {{0x60C, 0x60C},   {0x6D4, 0x6D4},   {0x964, 0x964}, /* […。，、।۔،] */
                                      {0x2026, 0x2026}, {0x3001, 0x3002}, {0xFF0C, 0xFF0C}};

#define LATIN      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define COUNT(a)   (unsigned)(sizeof(a) / sizeof *(a))
#define RANGES(a)  .ranges = (a), .n_ranges = COUNT(a)
#define RUN(...)   {.next = pe_split_runs, .least = 1, __VA_ARGS__}
#define WORDS(...) {.next = pe_split_words, __VA_ARGS__}

/* ---- stages ----------------------------------------------------------------------------------------------------- */

#define NEWLINE RUN(.ascii = "\r\n", .most = 1)
#define NUMBER  RUN(.classes = PE_NUMBERS, .most = 1)
#define TRIPLE  {.next = pe_split_runs, .ascii = "0123456789", .least = 3, .most = 3}
#define LINES   .tail = "\r\n"
#define SLASHES .tail = "\r\n/"

static const pe_stage gpt2[] = {{.next = pe_split_gpt2}};
static const pe_stage gpt2_digits[] = {{.next = pe_split_gpt2_digits}};
static const pe_stage falcon[] = {
    RUN(.classes = PE_PUNCTUATION, .ascii = "$+<=>^~|`"),
    {.next = pe_split_gpt2},
    TRIPLE,
};
static const pe_stage fallback[] = {
    RUN(.classes = PE_PUNCTUATION, .ascii = "$+<=>^~|"),
    {.next = pe_split_gpt2},
    RUN(.classes = PE_NUMBERS),
    TRIPLE,
};
static const pe_stage llama3[] = {WORDS(.letters = PE_LETTERS, .most_digits = 3, .contractions = true, LINES)};
static const pe_stage qwen2[] = {WORDS(.letters = PE_LETTERS, .most_digits = 1, .contractions = true, LINES)};
static const pe_stage qwen35[] = {
    WORDS(.letters = PE_LETTERS | PE_MARKS, .most_digits = 1, .contractions = true, LINES)};
static const pe_stage seed_coder[] = {WORDS(.letters = PE_LETTERS, .most_digits = 1, .contractions = true, .tail = "")};
static const pe_stage ufakzeka[] = {WORDS(.letters = PE_LETTERS, .most_digits = 1, LINES)};
static const pe_stage minicpm5[] = {
    RUN(.classes = PE_NUMBERS, .most = 3),
    WORDS(.letters = PE_LETTERS, .contractions = true, LINES),
};
static const pe_stage laguna[] = {
    RUN(.ascii = "\n"),
    WORDS(.letters = PE_LETTERS, .most_digits = 1, .contractions = true, LINES),
};
static const pe_stage gpt4o[] = {
    WORDS(.letters = PE_LETTERS, .most_digits = 3, .cased = true, .contractions = true, SLASHES)};
static const pe_stage tekken[] = {WORDS(.letters = PE_LETTERS, .most_digits = 1, .cased = true, SLASHES)};
static const pe_stage bloom[] = {RUN(.classes = PE_ALL_CLASSES & ~(unsigned)PE_SPACES, .except = true,
                                     .ascii = "(|.,!?)", RANGES(full_stops), .prefix = ' ')};
static const pe_stage viking[] = {
    RUN(.classes = PE_ALL_CLASSES & ~(unsigned)PE_SPACES, .except = true, .ascii = "(|.,!?)", RANGES(full_stops),
        .prefix = ' '),
    NUMBER,
};
static const pe_stage deepseek_llm[] = {
    NEWLINE,
    RUN(.ascii = LATIN, RANGES(cased_letters), .prefix = 's'),
    RUN(.ascii = "!\"#$%&'()*+,-./:;<=>?@" LATIN "[\\]^_`{|}~", RANGES(signs), .prefix = 's'),
    {.next = pe_split_trailing_space},
    RUN(RANGES(east_asian)),
    RUN(.classes = PE_NUMBERS),
};
static const pe_stage deepseek_coder[] = {
    NEWLINE,
    RUN(.classes = PE_LETTERS, .prefix = 's'),
    RUN(.classes = PE_PUNCTUATION, .prefix = 's'),
    RUN(RANGES(east_asian)),
    NUMBER,
};
static const pe_stage deepseek_v3[] = {
    RUN(.classes = PE_NUMBERS, .most = 3),
    RUN(RANGES(han_kana)),
    {.next = pe_split_deepseek3},
};

/* ---- names ------------------------------------------------------------------------------------------------------ */

#define ROW(name, stages)       {name, stages, COUNT(stages), false, false}
#define WHOLE(name, stages)     {name, stages, COUNT(stages), true, false}
#define WHOLE_BOS(name, stages) {name, stages, COUNT(stages), true, true}

/* In the order in which an error message shows them; the first one is for files that name none. */
static const pe_pretokenizer pretokenizers[] = {
    ROW("default", fallback),
    ROW("gpt-2", gpt2),
    WHOLE_BOS("llama-bpe", llama3),
    ROW("qwen2", qwen2),
    ROW("qwen35", qwen35),
    ROW("smollm", gpt2_digits),
    ROW("gpt-4o", gpt4o),
    WHOLE_BOS("tekken", tekken),
    ROW("deepseek-llm", deepseek_llm),
    ROW("deepseek-coder", deepseek_coder),
    ROW("deepseek-v3", deepseek_v3),
    ROW("falcon", falcon),
    ROW("starcoder", gpt2_digits),
    ROW("refact", gpt2_digits),
    ROW("command-r", gpt2_digits),
    ROW("mpt", gpt2),
    ROW("olmo", gpt2),
    ROW("phi-2", gpt2),
    ROW("dbrx", llama3),
    ROW("stablelm2", qwen2),
    ROW("chatglm-bpe", llama3),
    WHOLE("glm4", llama3),
    WHOLE("glm5", llama3),
    WHOLE_BOS("llama3", llama3),
    WHOLE_BOS("llama-v3", llama3),
    ROW("llama4", gpt4o),
    WHOLE_BOS("lfm2", llama3),
    WHOLE_BOS("falcon3", llama3),
    WHOLE_BOS("falcon-h1", llama3),
    WHOLE_BOS("pixtral", llama3),
    WHOLE_BOS("midm-2.0", llama3),
    WHOLE_BOS("jina-v5-nano", llama3),
    ROW("smaug-bpe", llama3),
    ROW("deepseek-r1-qwen", qwen2),
    ROW("megrez", qwen2),
    ROW("kormo", qwen2),
    ROW("f2llmv2", qwen2),
    ROW("hunyuan", qwen2),
    ROW("solar-open", qwen2),
    ROW("grok-2", qwen2),
    ROW("bailingmoe", qwen2), /* \s*[\r\n] instead of \s*[\r\n]+ ends at the same place */
    ROW("bailingmoe2", qwen2),
    ROW("llada-moe", qwen2),
    ROW("seed-coder", seed_coder),
    ROW("ufakzeka", ufakzeka),
    ROW("laguna", laguna),
    WHOLE("minicpm5", minicpm5),
    ROW("kanana2", gpt4o),
    ROW("talkie", gpt4o),
    ROW("minimax-m2", gpt4o),
    WHOLE("granite-embed-multi-97m", gpt4o),
    ROW("hunyuan-dense", deepseek_v3),
    ROW("joyai-llm", deepseek_v3),
    ROW("hy_v4", deepseek_v3),
    ROW("codeshell", gpt2_digits),
    ROW("exaone", gpt2_digits),
    ROW("minerva-7b", gpt2_digits),
    ROW("mellum2", gpt2_digits),
    ROW("exaone4", gpt2),
    ROW("jais", gpt2),
    ROW("trillion", gpt2),
    ROW("granite-docling", gpt2),
    ROW("gigachat", gpt2),
    ROW("a.x-4.0", gpt2),
    ROW("mellum", gpt2),
    ROW("modern-bert", gpt2),
    ROW("roberta-bpe", gpt2),
    ROW("jina-v1-en", gpt2),
    ROW("jina-v2-code", gpt2),
    ROW("jina-v2-es", gpt2),
    ROW("jina-v2-de", gpt2),
    ROW("jina-es", gpt2),
    ROW("jina-de", gpt2),
    ROW("bloom", bloom),
    ROW("poro-chat", bloom),
    ROW("gpt3-finnish", bloom),
    ROW("viking", viking),
};

static const pe_pretokenizer *find(pe_view name) {
    for (size_t i = 0; i < COUNT(pretokenizers); i++) {
        const pe_pretokenizer *row = &pretokenizers[i];
        if (strlen(row->name) == name.size && memcmp(row->name, name.data, name.size) == 0) return row;
    }
    return NULL;
}

/* The file names one, or the caller. */
static pe_status unknown(pe_view name, bool by_caller) {
    char known[820] = "";
    size_t used = 0;
    for (size_t i = 0; i < COUNT(pretokenizers); i++) {
        size_t size = strlen(pretokenizers[i].name), separator = i ? 2 : 0;
        if (used + separator + size >= sizeof known) break;
        memcpy(known + used, ", ", separator);
        memcpy(known + used + separator, pretokenizers[i].name, size + 1);
        used += separator + size;
    }
    int shown = name.size < 64 ? (int)name.size : 64;
    if (by_caller)
        return pe_fail(PE_ERR_ARG, "the pre-tokeniser '%.*s' is not known; known are: %s", shown, name.data, known);
    return pe_fail(PE_ERR_UNSUPPORTED,
                   "tokenizer.ggml.pre is '%.*s', which is not known, and no other is named to use instead "
                   "(pretokenizer); known are: %s",
                   shown, name.data, known);
}

pe_status pe_pretokenizer_find(pe_view name, pe_view fallback, const pe_pretokenizer **out) {
    if (fallback.size && !find(fallback)) return unknown(fallback, true);
    *out = find(name);
    if (!*out && fallback.size) *out = find(fallback);
    if (!*out && name.size == 0) *out = &pretokenizers[0];
    return *out ? PE_OK : unknown(name, false);
}

void pe_words_begin(pe_words *words, const pe_pretokenizer *pretokenizer, const char *text, size_t size) {
    *words = (pe_words){.pretokenizer = pretokenizer, .text = text, .ends = {size}};
}

size_t pe_words_next(pe_words *words) {
    const pe_pretokenizer *row = words->pretokenizer;
    if (row->n_stages == 1) return words->at = row->stages->next(row->stages, words->text, words->at, words->ends[0]);
    unsigned depth = row->n_stages;
    while (words->ends[depth] == words->at) depth--;
    for (; depth < row->n_stages; depth++) {
        const pe_stage *stage = &row->stages[depth];
        words->ends[depth + 1] = stage->next(stage, words->text, words->at, words->ends[depth]);
    }
    return words->at = words->ends[depth];
}
