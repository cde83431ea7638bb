/** The same checks of the library, in Node and in a page: each takes the library and what to expect, and throws where it
 * does not hold. `check` compares, since a page has no node:assert. */

export function check(what, found, expected) {
  const [a, b] = [JSON.stringify(found), JSON.stringify(expected)];
  if (a !== b) throw new Error(`${what}: found ${a?.slice(0, 300)}, expected ${b?.slice(0, 300)}`);
}

export function holds(what, truth, detail = "") {
  if (!truth) throw new Error(`${what} ${detail}`.trim());
}

export async function rejects(what, promise, name, pattern) {
  let error;
  try {
    await promise;
  } catch (caught) {
    error = caught;
  }
  holds(`${what}: was not refused`, error);
  holds(`${what}: ${error.name} instead of ${name}: ${error.message}`, error.name === name);
  holds(`${what}: the message is '${error.message}'`, pattern.test(error.message));
}

const NEAR_TIE = 0.05; // of log-probabilities: where roundings may decide

/** Greedy tokens are the native build's, up to the first near tie. */
export async function greedy(model, runs) {
  for (const run of runs) {
    const done = await model.complete(run.prompt, { temperature: 0, maxTokens: run.tokens.length, logprobs: 2 }).completion();
    const tie = run.margins.findIndex((margin) => margin < NEAR_TIE);
    const sure = tie < 0 ? run.tokens.length : tie;
    check("greedy tokens", done.tokens.slice(0, sure), run.tokens.slice(0, sure));
    for (let i = 0; i < sure && i < done.logprobs.length; i++)
      holds("logprob", Math.abs(done.logprobs[i] - run.logprobs[i]) < 0.02, `${done.logprobs[i]} ${run.logprobs[i]}`);
    holds("alternatives", done.top.every((best, i) => best.length === 2 && best[0].token === done.tokens[i]));
  }
}

/** Tokens drawn with a seed are those of the native build with the same arithmetic. */
export async function drawn(model, native) {
  for (const [i, run] of native.drawn.entries()) {
    const options = { temperature: 1, seed: 5 + i, maxTokens: run.tokens.length };
    const done = await model.complete(run.prompt, options).completion();
    check(`tokens of seed ${5 + i}`, done.tokens, run.tokens);
    const again = await model.complete(run.prompt, options).completion();
    check("the same seed again", again.tokens, done.tokens);
  }
  const { prompt, tokens } = native.penalised;
  const options = { temperature: 0.9, topK: 0, repeatPenalty: 1.3, seed: 2n ** 63n + 11n, maxTokens: tokens.length };
  check("penalised", (await model.complete(prompt, options).completion()).tokens, tokens);
}

export async function text(model, native) {
  check("ids", await model.tokenize(native.text), native.text_ids);
  check("parsed ids", await model.tokenize(native.text, { parseSpecial: true }), native.text_parsed);
  check("round trip", await model.detokenize(native.text_ids), native.text);
  check("template", await model.applyChatTemplate(native.messages), native.template);
  const pieces = await Promise.all(native.text_ids.map((id) => model.tokenBytes(id)));
  check("bytes", pieces.flatMap((bytes) => [...bytes]), [...new TextEncoder().encode(native.text)]);
  check("bytes that are no text", await model.tokenize(new Uint8Array(native.raw)), native.raw_ids);
  const metadata = await model.metadata();
  check("metadata", metadata["general.architecture"], "llama");
  holds("lists are cut", metadata["tokenizer.ggml.tokens"].length === 64);
  check("parameters", model.info.params, native.params);
}

/** The embedding is the native build's: to the last bits where the arithmetic is the same, and where products have one
 * rounding less, as near as activations of 15 bits are to each other. */
export async function embedding(model, native) {
  const found = await model.embed("The sky is blue.");
  check("length", found.length, native.embedding.length);
  const far = Math.hypot(...native.embedding.map((value, i) => value - found[i])) / Math.hypot(...native.embedding);
  holds("embedding", far < (model.info.module.startsWith("wasm128") ? 1e-6 : 1e-3), String(far));
}

/** A conversation that goes on evaluates only what is new; its answer does not depend on that. */
export async function turns(model) {
  const options = { temperature: 0, maxTokens: 8 };
  await model.reset();
  const first = [{ role: "user", content: "Name a colour." }];
  const one = await model.chat(first, options).completion();
  const second = [...first, { role: "assistant", content: one.text }, { role: "user", content: "Another one." }];
  const two = await model.chat(second, options).completion();
  holds("kept", two.timings.evaluatedTokens < two.timings.promptTokens - 20, JSON.stringify(two.timings));
  await model.reset();
  const fresh = await model.chat(second, options).completion();
  check("evaluated", fresh.timings.evaluatedTokens, fresh.timings.promptTokens);
  check("the same answer", fresh.tokens, two.tokens);
  const { position, capacity, memoryBytes } = await model.usage();
  holds("usage", position > 0 && capacity === model.info.capacity && memoryBytes > model.info.fileSize);
}

/** Stops within one token, while decoding and while reading the prompt; the model is free afterwards. */
export async function stopping(model, tokenMs) {
  const controller = new AbortController();
  const pieces = [];
  for await (const piece of model.chat([{ role: "user", content: "Tell a long story." }], { temperature: 0, signal: controller.signal })) {
    pieces.push(piece);
    if (pieces.length === 3) controller.abort();
  }
  check("reason", pieces.at(-1).finishReason, "cancelled");
  holds("stopped at once", pieces.length <= 6, String(pieces.length));
  const prompt = "The quick brown fox jumps over the lazy dog. ".repeat(80);
  const early = new AbortController();
  setTimeout(() => early.abort(), 100);
  const before = performance.now();
  const done = await model.complete(prompt, { signal: early.signal }).completion();
  check("reason in the prompt", [done.finishReason, done.tokens], ["cancelled", []]);
  holds("stopped within the prompt", performance.now() - before < tokenMs, String(performance.now() - before));
  for await (const piece of model.complete("Once upon a time", { maxTokens: 50 })) {
    holds("a piece", piece.token !== null);
    break; // leaving the loop ends the generation
  }
  const gone = new AbortController();
  gone.abort();
  check("aborted before", (await model.complete("x", { signal: gone.signal }).completion()).finishReason, "cancelled");
  check("free again", (await model.complete("Hello", { maxTokens: 1 }).completion()).tokens.length, 1);
}

export async function stops(model) {
  const whole = await model.complete("1, 2, 3, 4,", { temperature: 0, maxTokens: 16 }).completion();
  const stop = whole.text.slice(4, 6);
  const cut = await model.complete("1, 2, 3, 4,", { temperature: 0, maxTokens: 16, stop: [stop, "never"] }).completion();
  check("text before the stop", cut.text, whole.text.slice(0, whole.text.indexOf(stop)));
  check("reason", cut.finishReason, "stop");
  check("length", whole.finishReason, "length");
  const banned = whole.tokens[0];
  const other = await model.complete("1, 2, 3, 4,", { temperature: 0, maxTokens: 1, logitBias: { [banned]: -Infinity } }).completion();
  holds("a forbidden token", other.tokens[0] !== banned);
}

export async function wrongCalls(model, library) {
  await rejects("an overlong prompt", model.complete("a b ".repeat(6000)).completion(), "ContextOverflowError", /needed/);
  await rejects("no prompt", model.complete([]).completion(), "RangeError", /empty/);
  const refused = (what, call, name, pattern) => rejects(what, (async () => call())(), name, pattern);
  await refused("temperature", () => model.complete("x", { temperature: -1 }), "RangeError", /temperature must be/);
  await refused("an unknown option", () => model.complete("x", { top_k: 1 }), "TypeError", /unknown option 'top_k'/);
  await refused("messages", () => model.chat([{ role: "user" }]), "TypeError", /messages\[0\] must have a 'content'/);
  await refused("a token", () => model.detokenize([model.info.vocabSize]), "RangeError", /token id/);
  await refused("an adapter", () => model.setLora("nobody"), "AdapterError", /nobody/);
  const busy = model.complete("Hello", { maxTokens: 20 });
  await busy.next();
  await rejects("a second generation", model.complete("Hello").completion(), "BusyError", /in use/);
  await busy.return();
  const empty = new Uint8Array();
  await rejects("an empty file", library.PyEdge.load(empty), "ModelFileError", /empty/);
  await rejects("no model", library.PyEdge.load(new TextEncoder().encode("hello, this is no model")), "ModelFileError", /GGUF/);
  const gone = new AbortController();
  gone.abort();
  await rejects("an aborted load", library.PyEdge.load(empty, { signal: gone.signal }), "AbortError", /abort/i);
}

/** Adapters change the answer, and only while they are attached; between two tokens too. */
export async function adapters(model, { sources, prompt, answers }) {
  const options = { temperature: 0, maxTokens: 16 };
  const answer = async (lora) => (await model.complete(prompt, { ...options, lora }).completion()).tokens;
  const base = await answer(null);
  for (const [name, source] of Object.entries(sources)) {
    const info = await model.loadLora(name, source);
    holds("facts of the adapter", info.rank > 0 && info.bytes > 0 && info.scale === 0, JSON.stringify(info));
    const tokens = await answer(name);
    check(`with ${name}`, tokens.slice(0, answers[name].length), answers[name]);
    check("attached", (await model.loras()).find((one) => one.name === name).scale, 1);
    check(`without ${name}`, await answer(null), base);
  }
  const [first] = Object.keys(sources);
  const seen = [];
  for await (const piece of model.complete(prompt, { ...options, maxTokens: 12 })) {
    seen.push(piece.token);
    if (seen.length === 4) await model.setLora({ [first]: 1 });
  }
  check("before the change", seen.slice(0, 4), base.slice(0, 4));
  holds("it goes on", seen.length > 4);
  await rejects("a name twice", model.loadLora(first, sources[first]), "AdapterError", /already/);
  await rejects("no adapter", model.loadLora("broken", new Uint8Array(100)), "AdapterError", /./);
  for (const name of Object.keys(sources)) await model.unloadLora(name);
  check("none is left", await model.loras(), []);
  check("without any", await answer(undefined), base);
}
