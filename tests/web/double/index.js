/** A stand-in for the library, for tests of the page alone: the public types, no model. What it answers follows from
 * the question, so that a test can say what it expects:
 *
 * - "markdown" answers with every kind of Markdown, "html" with tags that must stay text, "think" with thoughts first;
 * - "slow" answers 400 words, 10 ms each; "fail" breaks off after three words; "crash" ends the worker;
 * - anything else: "You said: " and the question, word by word.
 *
 * An adapter that is attached puts its name, and its scale, before the word that comes next.
 */
import {
  AdapterError,
  ClosedError,
  ContextOverflowError,
  ModelFileError,
  NetworkError,
  OutOfMemoryError,
} from "../../../wasm/src/errors.ts";

export * from "../../../wasm/src/errors.ts";

const CAPACITY = 512;
const CACHE = "pyedge-double";
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

const markdown = `# Heading

A **bold** word, an *italic* one, \`code\`, ~~gone~~ and [a link](https://example.org/x). [Not a link](javascript:alert(1))

1. one
2. two
   - nested

- [x] done
- [ ] open

> quoted

| a | b |
|---|--:|
| 1 | 2 |

\`\`\`python
print("<b>hi</b>")
\`\`\`

![picture](https://example.org/picture.png) &amp; &lt;end&gt;`;

const html = `<script>window.pwned = 1</script><img src=x onerror="window.pwned = 1"> <b>bold</b> [x](javascript:window.pwned=1)`;

function reply(question) {
  if (question.includes("markdown")) return markdown;
  if (question.includes("html")) return html;
  if (question.includes("think")) return "<think>Let me see.</think>The answer is 4.";
  if (question.includes("slow")) return Array.from({ length: 400 }, (_, at) => `word${at}`).join(" ");
  return `You said: ${question}`;
}

async function bytesOf(source, { onProgress, signal, cache = true }) {
  const parts = Array.isArray(source) ? source : [source];
  let loaded = 0;
  let fromCache = true;
  const chunks = [];
  for (const part of parts) {
    signal?.throwIfAborted();
    let stream;
    let total = null;
    let phase = "read";
    if (part instanceof Blob) {
      stream = part.stream();
      total = part.size;
      fromCache = false;
    } else {
      const url = new URL(part, location.href).href;
      const store = await caches.open(CACHE);
      let answer = cache ? await store.match(url) : undefined;
      phase = answer ? "cache" : "fetch";
      if (!answer) {
        fromCache = false;
        try {
          answer = await fetch(url, { signal });
        } catch (error) {
          signal?.throwIfAborted();
          throw new NetworkError(`${url} could not be fetched: the connection failed`, undefined, { cause: error });
        }
        if (!answer.ok) throw new NetworkError(`${url}: the server answered ${answer.status}`, answer.status);
        if (cache) void store.put(url, answer.clone()).catch(() => undefined); // a cancelled load leaves nothing
      }
      total = Number(answer.headers.get("content-length")) || null;
      stream = answer.body;
    }
    const reader = stream.getReader();
    for (;;) {
      signal?.throwIfAborted();
      const { done, value } = await reader.read();
      if (done) break;
      chunks.push(value);
      loaded += value.length;
      onProgress?.({ phase, loaded, total });
      if (value.length > 1000) await pause(5);
    }
  }
  onProgress?.({ phase: "open", loaded, total: loaded });
  await pause(5);
  signal?.throwIfAborted();
  return { bytes: new Uint8Array(await new Blob(chunks).arrayBuffer()), fromCache };
}

class Model {
  #closed = false;
  #adapters = new Map();
  #position = 0;

  constructor(bytes, fromCache, options) {
    this.info = {
      name: "double",
      arch: "llama",
      vocabSize: 1000,
      contextLength: CAPACITY,
      capacity: CAPACITY,
      params: 135e6,
      embeddingSize: 64,
      layers: 2,
      fileSize: bytes.length,
      bosId: 1,
      eosId: 2,
      hasChatTemplate: true,
      module: crossOriginIsolated ? "wasmrelaxed-threads" : "wasmrelaxed",
      threads: options.threads ?? (crossOriginIsolated ? 2 : 1),
      loadMs: 10,
      openMs: 5,
      fromCache,
    };
  }

  #alive() {
    if (this.#closed) throw new ClosedError("the model was closed");
  }

  chat(messages, options = {}) {
    const prompt = messages.map((message) => `${message.role}: ${message.content}`).join("\n");
    const question = messages.findLast((message) => message.role === "user").content;
    const system = messages.find((message) => message.role === "system");
    const answer = question.includes("system?") ? (system?.content ?? "none") : reply(question);
    return this.#generate(prompt, answer, question, options);
  }

  complete(prompt, options = {}) {
    return this.#generate(prompt, "and so on.", "", options);
  }

  #generate(prompt, answer, question, options) {
    const timings = { promptTokens: 0, evaluatedTokens: 0, promptMs: 0, decodeTokens: 0, decodeMs: 0, ttftMs: 0, draftedTokens: 0, acceptedTokens: 0 };
    const run = async function* () {
      this.#alive();
      const promptTokens = prompt.split(/\s+/).length;
      if (promptTokens > CAPACITY) throw new ContextOverflowError(`the prompt has ${promptTokens} tokens, the context ${CAPACITY}`, promptTokens, CAPACITY);
      timings.promptTokens = promptTokens;
      await pause(10);
      timings.ttftMs = 10;
      const words = answer.match(/\s*\S+|\s+$/g) ?? [];
      for (const [at, plain] of words.entries()) {
        await pause(question.includes("slow") ? 10 : 2);
        this.#alive();
        if (options.signal?.aborted) return yield { text: "", token: null, logprob: null, finishReason: "cancelled" };
        if (question.includes("fail") && at === 3) throw new OutOfMemoryError("no memory is left for the session");
        if (question.includes("crash") && at === 3) throw new ClosedError("the worker ended");
        const put = [...this.#adapters].filter(([, scale]) => scale).map(([name, scale]) => ` (${name} ${scale})`);
        const text = plain + put.join("");
        const probability = 0.2 + 0.75 / (1 + (at % 4));
        const top = Array.from({ length: options.logprobs ?? 0 }, (_, rank) => ({
          token: at + 1000 * rank,
          text: rank ? ` other${rank}` : text,
          logprob: Math.log(rank ? (1 - probability) / 2 ** rank : probability),
        }));
        this.#position = promptTokens + at;
        timings.decodeTokens = at;
        timings.decodeMs = 2 * at + 1;
        yield { text, token: at, logprob: Math.log(probability), ...(options.logprobs ? { top } : {}) };
        if (at + 1 >= (options.maxTokens ?? 256)) return yield { text: "", token: null, logprob: null, finishReason: "length" };
      }
      yield { text: "", token: null, logprob: null, finishReason: "stop" };
    }.call(this);
    run.timings = timings;
    Object.defineProperty(run, "timings", { value: timings });
    return run;
  }

  async applyChatTemplate(messages) {
    return messages.map((message) => `${message.role}: ${message.content}\n`).join("") + "assistant: ";
  }

  async loadLora(name, source, options = {}) {
    this.#alive();
    const { bytes } = await bytesOf(source, options);
    if (!new TextDecoder("latin1").decode(bytes).includes("adapter")) throw new AdapterError(`${name}: this adapter was made for another model`);
    this.#adapters.set(name, 0);
    return { name, scale: 0, rank: 8, bytes: bytes.length };
  }

  async unloadLora(name) {
    this.#adapters.delete(name);
  }

  async setLora(set) {
    this.#alive();
    for (const name of this.#adapters.keys()) this.#adapters.set(name, set?.[name] ?? 0);
  }

  async loras() {
    return [...this.#adapters].map(([name, scale]) => ({ name, scale, rank: 8, bytes: 1 }));
  }

  async usage() {
    this.#alive();
    return { position: this.#position, capacity: CAPACITY, memoryBytes: 123e6, sessionBytes: 10e6 };
  }

  async bench({ prompt = [512], generate = [128], repetitions = 5, onRow, signal } = {}) {
    const rows = [];
    for (const [n_prompt, n_gen] of [...prompt.map((n) => [n, 0]), ...generate.map((n) => [0, n])]) {
      await pause(50);
      signal?.throwIfAborted();
      const row = {
        model_filename: "double.gguf", model_type: "llama 135M Q4_1", model_size: 1, model_n_params: 1, cpu_info: "a browser",
        isa: "wasmrelaxed", n_threads: 1, n_prompt, n_gen, n_depth: 0, samples_ts: Array(repetitions).fill(40), avg_ts: 40,
        stddev_ts: 0, median_ts: 40, load_ms: 10, ttft_ms: 12, peak_rss_bytes: null, weights_gb_per_s: null,
        output_hash: "0123456789abcdef", bound_gb_per_s: null, bound_percent: null, start_ms: null,
      };
      rows.push(row);
      onRow?.(row);
    }
    return rows;
  }

  async close() {
    this.#closed = true;
  }
}

export const PyEdge = {
  features: () => ({
    usable: true,
    simd: true,
    relaxedSimd: true,
    threads: crossOriginIsolated,
    processors: 2,
    module: "wasmrelaxed",
    reason: "relaxed SIMD",
  }),

  async load(source, options = {}) {
    const { bytes, fromCache } = await bytesOf(source, options);
    const magic = new TextDecoder("latin1").decode(bytes.subarray(0, 4));
    if (magic !== "GGUF") throw new ModelFileError(`${source?.name ?? source}: this is no model file (it does not begin with GGUF)`);
    if (bytes.length < 1000) throw new ModelFileError(`${source?.name ?? source}: the file is cut short at ${bytes.length} bytes`);
    return new Model(bytes, fromCache, options);
  },

  async cached() {
    const store = await caches.open(CACHE);
    return (await store.keys()).map((request) => ({ url: request.url, bytes: 5000, sha256: "", added: 0 }));
  },

  async uncache(url) {
    const store = await caches.open(CACHE);
    for (const request of await store.keys()) if (!url || request.url === String(url)) await store.delete(request);
  },
};
