/** Benchmarks in headless Chromium.
 *
 *     node bench/browser/bench.mjs -m MODEL.gguf [-p 512] [-n 128] [-d 0] [-t 1,2] [-r 5] [--module NAME] [-o json|md]
 *     node bench/browser/bench.mjs -m MODEL.gguf --peer [-t 1,2] [-r 3] [-n 32] [--load]
 *
 * The first gives the tests and columns of `pyedge bench`. The second sets the library beside wllama: the same browser,
 * file and prompt (about 140 tokens), in turn; medians and their ratio. `--load` also times a model from the browser's
 * storage to ready. Needs `npm ci` here and the built package. */
import { createReadStream, existsSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, resolve } from "node:path";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";
import { launching } from "../../tests/web/chromium.mjs";

const { values } = parseArgs({
  options: {
    model: { type: "string", short: "m" },
    prompt: { type: "string", short: "p", default: "512" },
    generate: { type: "string", short: "n" },
    depth: { type: "string", short: "d", default: "0" },
    threads: { type: "string", short: "t", default: "1,2" },
    repetitions: { type: "string", short: "r" },
    module: { type: "string" },
    output: { type: "string", short: "o", default: "md" },
    peer: { type: "boolean", default: false },
    load: { type: "boolean", default: false },
  },
});
if (!values.model || !existsSync(values.model)) {
  console.error("bench.mjs: -m must name a model file");
  process.exit(2);
}
const numbers = (text) => text.split(",").map(Number);
const root = resolve(import.meta.dirname, "../..");
const wllama = resolve(import.meta.dirname, "node_modules/@wllama/wllama/esm");
const types = { ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm" };

function serve() {
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url, "http://host");
    const headers = {
      "Cross-Origin-Opener-Policy": "same-origin",
      "Cross-Origin-Embedder-Policy": "require-corp",
      "Cross-Origin-Resource-Policy": "same-origin",
    };
    if (pathname === "/") return response.writeHead(200, { ...headers, "Content-Type": "text/html" }).end("<!doctype html><title>bench</title>");
    const file = pathname === "/model.gguf" ? values.model : pathname.startsWith("/wllama/") ? wllama + pathname.slice(7) : resolve(root, `wasm${pathname}`);
    if (!existsSync(file)) return response.writeHead(404, headers).end();
    response.writeHead(200, { ...headers, "Content-Type": types[extname(file)] ?? "application/octet-stream", "Content-Length": statSync(file).size, ETag: '"1"' });
    if (request.method === "HEAD") response.end();
    else createReadStream(file).pipe(response);
  });
  return new Promise((done) => server.listen(0, "127.0.0.1", () => done(server)));
}

// ---- in the page ----

/** Milliseconds to the first token of the prompt, and tokens a second after it. */
async function ours({ threads, module, repetitions, prompts, generate }) {
  const { PyEdge } = await import("/dist/index.js");
  const model = await PyEdge.load("/model.gguf", { threads, context: 2048, ...(module ? { module } : {}) });
  const runs = [];
  for (let i = 0; i <= repetitions; i++) {
    await model.reset();
    const times = [performance.now()];
    for await (const piece of model.complete(prompts[i], { temperature: 0, maxTokens: generate, lookup: false }))
      if (piece.token !== null) times.push(performance.now());
    runs.push({ prompt: (await model.tokenize(prompts[i])).length, times });
  }
  const { module: name } = model.info;
  const { memoryBytes } = await model.usage();
  await model.close();
  return { name, memoryBytes, runs: runs.slice(1) };
}

async function theirs({ threads, repetitions, prompts, generate }) {
  const { Wllama, LoggerWithoutDebug } = await import("/wllama/index.js");
  const model = new Wllama({ default: "/wllama/wasm/wllama.wasm" }, { suppressNativeLog: true, logger: { ...LoggerWithoutDebug, log() {}, warn() {} } });
  await model.loadModelFromUrl(new URL("/model.gguf", location.href).href, { n_threads: threads, n_ctx: 2048, n_gpu_layers: 0 });
  const runs = [];
  for (let i = 0; i <= repetitions; i++) {
    const times = [performance.now()];
    const stream = await model.createCompletion({ prompt: prompts[i], max_tokens: generate, temperature: 0, stream: true, cache_prompt: false });
    for await (const _ of stream) times.push(performance.now());
    runs.push({ prompt: null, times: times.slice(0, generate + 1) });
  }
  await model.exit();
  return { name: "wllama", runs: runs.slice(1) };
}

/** Milliseconds from the call to ready, the file being in the browser's storage. */
async function oursCached({ threads }) {
  const { PyEdge } = await import("/dist/index.js");
  const model = await PyEdge.load("/model.gguf", { threads, context: 2048 });
  const { loadMs, fromCache } = model.info;
  await model.close();
  return fromCache ? loadMs : null;
}
async function theirsCached({ threads }) {
  const { Wllama } = await import("/wllama/index.js");
  const before = performance.now();
  const model = new Wllama({ default: "/wllama/wasm/wllama.wasm" }, { suppressNativeLog: true });
  await model.loadModelFromUrl(new URL("/model.gguf", location.href).href, { n_threads: threads, n_ctx: 2048, n_gpu_layers: 0 });
  const ms = performance.now() - before;
  await model.exit();
  return ms;
}

// ---- what becomes of it ----

const median = (list) => {
  const sorted = list.toSorted((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
};
const rates = ({ runs }, length) => ({
  prefill: median(runs.map(({ times }) => (length / (times[1] - times[0])) * 1e3)),
  decode: median(runs.map(({ times }) => ((times.length - 2) / (times.at(-1) - times[1])) * 1e3)),
});

const server = await serve();
const url = `http://127.0.0.1:${server.address().port}/`;
const browser = await chromium.launch(launching);
const context = await browser.newContext();
const fresh = async (run, argument) => {
  const page = await context.newPage(); // nothing of the other engine's is left
  await page.goto(url);
  const value = await page.evaluate(run, argument);
  await page.close();
  return value;
};

if (!values.peer) {
  const options = {
    prompt: numbers(values.prompt),
    generate: numbers(values.generate ?? "128"),
    depth: numbers(values.depth),
    repetitions: Number(values.repetitions ?? 5),
  };
  const rows = [];
  for (const threads of numbers(values.threads))
    rows.push(
      ...(await fresh(
        async ({ threads, module, options }) => {
          const { PyEdge } = await import("/dist/index.js");
          const context = Math.max(...options.depth) + Math.max(...options.prompt, ...options.generate) + 64;
          const model = await PyEdge.load("/model.gguf", { threads, context, ...(module ? { module } : {}) });
          const rows = await model.bench(options);
          await model.close();
          return rows;
        },
        { threads, module: values.module, options },
      )),
    );
  if (values.output === "json") console.log(JSON.stringify(rows, null, 1));
  else {
    console.log("| model | isa | threads | test | tokens/s | +- | % of the bound |\n|---|---|---:|---|---:|---:|---:|");
    for (const row of rows)
      console.log(
        `| ${row.model_type} | ${row.isa} | ${row.n_threads} | ${row.n_prompt ? `pp${row.n_prompt}` : `tg${row.n_gen}`}` +
          `${row.n_depth ? ` @ d${row.n_depth}` : ""} | ${row.median_ts.toFixed(2)} | ${row.stddev_ts.toFixed(2)} | ${row.bound_percent?.toFixed(0) ?? ""} |`,
      );
  }
} else {
  const generate = Number(values.generate ?? 32);
  const repetitions = Number(values.repetitions ?? 3);
  const sentence = " The quick brown fox jumps over the lazy dog.";
  // Each prompt begins otherwise, so that no cache of prompts answers.
  const prompts = Array.from({ length: repetitions + 1 }, (_, i) => `${"ABCDEFGHIJKLMNOP"[i % 16]}${sentence.repeat(14)}`.slice(0, 600));
  const results = [];
  for (const threads of numbers(values.threads)) {
    const argument = { threads, module: values.module, repetitions, prompts, generate };
    const [a, b] = [{ runs: [] }, { runs: [] }];
    for (let turn = 0; turn < 2; turn++) {
      const one = await fresh(ours, argument);
      a.name = one.name;
      a.runs.push(...one.runs);
      b.runs.push(...(await fresh(theirs, argument)).runs);
    }
    const length = a.runs[0].prompt;
    const [mine, peer] = [rates(a, length), rates(b, length)];
    const row = { model: values.model.split("/").pop(), module: a.name, threads, prompt: length, ...mine, peer_prefill: peer.prefill, peer_decode: peer.decode, prefill_ratio: mine.prefill / peer.prefill, decode_ratio: mine.decode / peer.decode };
    if (values.load) {
      const [mine, peer] = [[], []];
      for (let i = 0; i < repetitions; i++) {
        mine.push(await fresh(oursCached, { threads }));
        peer.push(await fresh(theirsCached, { threads }));
      }
      Object.assign(row, { load_ms: median(mine), peer_load_ms: median(peer), load_ratio: median(peer) / median(mine) });
    }
    results.push(row);
    if (values.output !== "json") console.error(JSON.stringify(row));
  }
  console.log(JSON.stringify({ browser: browser.version(), results }, null, 1));
}
await browser.close();
server.close();
