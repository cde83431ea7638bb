/** The package in Node: every module that Node runs, with and without threads. What the native build and other engines
 * give is in the file that tests/web/reference.py wrote (PYEDGE_WEB_REFERENCE, default build/reference.json). */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { resolve } from "node:path";
import { after, before, describe, it } from "node:test";
import * as library from "../dist/index.js";
import { Sha256 } from "./inside.mjs";
import * as same from "./host.mjs";

const { PyEdge } = library;
const root = resolve(import.meta.dirname, "../..");
const path = process.env.PYEDGE_WEB_REFERENCE ?? resolve(root, "build/reference.json");
const skip = existsSync(path) ? false : "needs tests/web/reference.py to be run first";
const { native, references } = skip ? {} : JSON.parse(readFileSync(path, "utf8"));
const modules = ["wasm128", "wasm128-threads"];
if (PyEdge.features().relaxedSimd) modules.push("wasmrelaxed", "wasmrelaxed-threads");

for (const module of modules)
  describe(module, { skip, concurrency: false }, () => {
    let model;
    before(async () => {
      model = await PyEdge.load(native.model, { module, context: 2048, ...(module.endsWith("-threads") ? { threads: 2 } : {}) });
    });
    after(() => model?.close());

    it("says what it is", () => {
      assert.equal(model.info.module, module);
      assert.equal(model.info.threads, module.endsWith("-threads") ? 2 : 1);
      assert.equal(model.info.capacity, 2048);
    });
    it("gives the native build's greedy tokens", () => same.greedy(model, native.greedy));
    it("draws the native build's tokens", { skip: module.startsWith("wasm128") ? false : "other roundings" }, () =>
      same.drawn(model, native));
    it("knows its texts", () => same.text(model, native));
    it("embeds", () => same.embedding(model, native));
    it("keeps the session between turns", () => same.turns(model));
    it("stops at once", () => same.stopping(model, 2000));
    it("ends before stop strings", () => same.stops(model));
    it("refuses what is wrong", () => same.wrongCalls(model, library));
  });

describe("references", { skip: skip || (references ? false : "needs PYEDGE_REFS"), concurrency: false }, () => {
  it("has the ids of other tokenizers", async () => {
    const model = await PyEdge.load(native.model);
    const text = new Uint8Array(readFileSync(references.mixed));
    assert.deepEqual(await model.tokenize(text, { addSpecial: false }), references.tokens.plain);
    assert.deepEqual(await model.tokenize(text), references.tokens.add_special);
    assert.deepEqual(await model.tokenize(text, { addSpecial: false, parseSpecial: true }), references.tokens.parse_special);
    await model.close();
  });
  for (const module of modules)
    it(`puts adapters on and off with ${module}`, { skip: references?.adapters ? false : "this build has no adapters" }, async () => {
      const model = await PyEdge.load(native.model, { module, context: 512 });
      await same.adapters(model, references.adapters);
      await model.close();
    });
  for (const tiny of references?.tiny ?? [])
    it(`has the logits of ${tiny.name}`, async () => {
      const model = await PyEdge.load(tiny.file, { kvType: "f32" });
      const logits = await model.logits(tiny.ids);
      const far = Math.max(...tiny.logits.map((value, i) => Math.abs(value - logits[i])));
      assert.ok(far < 1e-4, `${far} from transformers`);
      await model.close();
    });
});

describe("loading", { skip, concurrency: false }, () => {
  const bytes = skip ? Buffer.alloc(0) : readFileSync(native.model);
  const requests = [];
  let server;
  let url;
  before(async () => {
    server = createServer((request, response) => {
      const { pathname } = new URL(request.url, "http://host");
      requests.push([pathname, request.headers.range]);
      const from = Number(/^bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0);
      const ranges = pathname !== "/no-ranges.gguf";
      const first = ranges ? from : 0;
      const headers = { ETag: '"1"', "Content-Type": "application/octet-stream" };
      if (pathname === "/huge.gguf") return response.writeHead(200, { "Content-Length": 5e9 }).write("GGUF");
      if (pathname === "/missing.gguf") return response.writeHead(404).end();
      if (pathname !== "/unknown-length.gguf") headers["Content-Length"] = bytes.length - first;
      response.writeHead(first ? 206 : 200, headers);
      // Drops in the middle, the first time of each path.
      const drops = /drops|no-ranges/.test(pathname) && requests.filter(([name]) => name === pathname).length === 1;
      if (!drops) return response.end(bytes.subarray(first));
      response.write(bytes.subarray(0, bytes.length >> 1), () => setTimeout(() => response.destroy(), 200));
    });
    await new Promise((done) => server.listen(0, "127.0.0.1", done));
    url = `http://127.0.0.1:${server.address().port}`;
  });
  after(() => new Promise((done) => {
    server.closeAllConnections();
    server.close(done);
  }));

  const answers = async (source, options = {}) => {
    const model = await PyEdge.load(source, { context: 256, ...options });
    const [{ prompt, tokens }] = native.greedy;
    assert.equal((await model.complete(prompt, { temperature: 0, maxTokens: 1 }).completion()).tokens[0], tokens[0]);
    const { info } = model;
    await model.close();
    return info;
  };

  it("reads bytes, Blobs and pieces of one file", async () => {
    await answers(new Uint8Array(bytes));
    const info = await answers(new Blob([bytes]), { sha256: createHash("sha256").update(bytes).digest("hex") });
    assert.equal(info.fileSize, bytes.length);
    await answers([new Blob([bytes.subarray(0, 1000)]), new Blob([bytes.subarray(1000)])]);
  });
  it("tells its progress", async () => {
    const told = [];
    await answers(`${url}/model.gguf`, { onProgress: (progress) => told.push(progress) });
    assert.equal(told.at(-1).phase, "open");
    assert.equal(told.at(-1).loaded, bytes.length);
    const fetched = told.filter(({ phase }) => phase === "fetch");
    assert.ok(fetched.length > 1 && fetched.every(({ total }) => total === bytes.length));
    assert.ok(fetched.every(({ loaded }, i) => !i || loaded >= fetched[i - 1].loaded));
  });
  it("goes on where a connection dropped", async () => {
    await answers(`${url}/drops.gguf`);
    const ranges = requests.filter(([name]) => name === "/drops.gguf").map(([, range]) => range);
    assert.equal(ranges.length, 2);
    assert.match(ranges[1], /^bytes=[1-9]\d*-$/);
  });
  it("begins again where the server has no ranges", () => answers(`${url}/no-ranges.gguf`));
  it("reads what has no length", () => answers(`${url}/unknown-length.gguf`));
  it("tells what is wrong", async () => {
    await same.rejects("a missing file", PyEdge.load(`${url}/missing.gguf`), "NetworkError", /404/);
    await same.rejects("no server", PyEdge.load("http://127.0.0.1:9/model.gguf"), "NetworkError", /could not be fetched/);
    await same.rejects("no such path", PyEdge.load("/no/such/model.gguf"), "ModelFileError", /ENOENT/);
    await same.rejects("cut short", PyEdge.load(new Uint8Array(bytes.subarray(0, 3 << 20))), "ModelFileError", /./);
    await same.rejects("another sum", PyEdge.load(native.model, { sha256: "0".repeat(64) }), "ModelFileError", /SHA-256/);
    await same.rejects("too large", PyEdge.load(`${url}/huge.gguf`), "OutOfMemoryError", /5\.00 GB.*at most 4/);
  });
  it("is ended by its signal", async () => {
    const controller = new AbortController();
    const loading = PyEdge.load(`${url}/model.gguf`, { signal: controller.signal, onProgress: () => controller.abort(new Error("enough")) });
    await assert.rejects(loading, /enough/);
  });
  it("is closed once and for all", async () => {
    const model = await PyEdge.load(native.model);
    const running = model.complete("Hello", { maxTokens: 1000 }).completion();
    await new Promise((done) => setTimeout(done, 200));
    await model.close();
    await same.rejects("what ran", running, "ClosedError", /closed/);
    await same.rejects("what comes later", model.tokenize("x"), "ClosedError", /closed/);
  });
});

describe("SHA-256", () => {
  it("is the one of the standard, however the data comes", () => {
    for (const size of [0, 1, 55, 56, 63, 64, 65, 1000, 100_003]) {
      const data = randomBytes(size);
      const expected = createHash("sha256").update(data).digest("hex");
      assert.equal(new Sha256().update(data).digest(), expected);
      const parts = new Sha256();
      for (let at = 0; at < size; at += 37) parts.update(data.subarray(at, at + 37));
      assert.equal(parts.digest(), expected);
    }
  });
});
