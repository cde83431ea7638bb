/** The library in Chromium: every module, in pages that are isolated and in those that are not; what the browser keeps,
 * and what it gets back. `tests/web/reference.py` wrote what to expect. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, resolve } from "node:path";
import { after, before, describe, it } from "node:test";
import { executable, launch, visit } from "./browser.mjs";

const root = resolve(import.meta.dirname, "../..");
const path = process.env.PYEDGE_WEB_REFERENCE ?? resolve(root, "build/reference.json");
const skip = !executable ? "needs Chromium (PYEDGE_CHROMIUM)" : !existsSync(path) ? "needs tests/web/reference.py" : false;
const { native, references } = skip ? {} : JSON.parse(readFileSync(path, "utf8"));
const types = { ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm" };

/** The package, the checks and the models. Paths below /plain/ come without the headers that isolate a page. */
function host() {
  const log = [];
  const faults = new Map(); // path: what to do with the next request for it
  const heads = new Map(); // path: a text before the file's own
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url, "http://host");
    log.push({ path: pathname, range: request.headers.range });
    const isolated = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" };
    const headers = pathname.startsWith("/plain/") ? {} : isolated;
    const name = pathname.replace(/^\/plain/, "");
    if (name === "/favicon.ico") return response.writeHead(204).end();
    if (name === "/") return response.writeHead(200, { ...headers, "Content-Type": "text/html" }).end("<!doctype html><title>host</title>");
    const lora = /^\/lora\/(\w+)\/([\w.]+)$/.exec(name);
    const tiny = (references?.tiny ?? []).find((one) => name === `/${one.name}.gguf`);
    const file = /^\/model.*\.gguf$/.test(name) ? native.model : lora ? resolve(references.adapters.sources[lora[1]], "..", lora[2]) : tiny ? tiny.file : name === "/mixed.txt" ? references.mixed : name === "/isolate.js" ? resolve(root, "wasm/dist/isolate.js") : resolve(root, `wasm${name}`);
    if (!existsSync(file) || !statSync(file).isFile()) return response.writeHead(404, headers).end();
    const head = heads.get(name);
    const bytes = head ? Buffer.concat([Buffer.from(head), readFileSync(file)]) : readFileSync(file);
    const first = Number(/^bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0);
    response.writeHead(first ? 206 : 200, {
      ...headers,
      "Content-Type": types[extname(file)] ?? "application/octet-stream",
      "Content-Length": bytes.length - first,
      "Cross-Origin-Resource-Policy": "same-origin",
      ETag: `"${bytes.length}"`,
    });
    const fault = faults.get(name);
    faults.delete(name);
    if (fault === "hold") response.write(bytes.subarray(first, bytes.length >> 1)); // and no more
    else if (fault === "drop") response.write(bytes.subarray(first, (first + bytes.length) >> 1), () => setTimeout(() => response.destroy(), 300));
    else response.end(bytes.subarray(first));
  });
  return new Promise((done) =>
    server.listen(0, "127.0.0.1", () =>
      done({
        url: `http://127.0.0.1:${server.address().port}`,
        log,
        faults,
        heads,
        close: () => {
          server.closeAllConnections();
          return new Promise((closed) => server.close(closed));
        },
      }),
    ),
  );
}

describe("the library in Chromium", { skip, concurrency: false }, () => {
  let browser;
  let site;
  before(async () => {
    site = await host();
    browser = await launch();
  });
  after(async () => {
    await browser?.close();
    await site?.close();
  });

  /** A page with the library and the checks in reach; what `run` gives. */
  async function within(place, run, argument, expected = []) {
    const { context, page, complaints } = await visit(browser, `${site.url}${place}`);
    try {
      await page.evaluate(async () => {
        globalThis.library = await import(new URL("dist/index.js", location.href).href);
        globalThis.same = await import(new URL("test/host.mjs", location.href).href);
        globalThis.PyEdge = globalThis.library.PyEdge;
        addEventListener("unhandledrejection", (event) => console.error(`unhandled: ${event.reason}`));
      });
      const value = await page.evaluate(run, argument);
      assert.deepEqual(complaints.filter((text) => !expected.some((pattern) => pattern.test(text))), []);
      return value;
    } finally {
      await context.close();
    }
  }

  it("starts a worker for each further thread alone, and hardly asks for the time", async () => {
    // Each worker has heaps of its own, and each answer of the clock is an object on one.
    const counting = () => {
      globalThis.counts = { clock: 0, workers: 0 };
      const now = performance.now.bind(performance);
      performance.now = () => (counts.clock++, now());
      const Thread = Worker;
      globalThis.Worker = class extends Thread {
        constructor(...given) {
          super(...given);
          counts.workers++;
        }
      };
    };
    site.heads.set("/dist/worker.js", `(${counting})();`);
    const { context, page } = await visit(browser, `${site.url}/`);
    await page.evaluate(async () => {
      const { PyEdge } = await import(new URL("dist/index.js", location.href).href);
      globalThis.model = await PyEdge.load(new URL("model.gguf", location.href), { threads: 2, context: 2048 });
      globalThis.answer = await model.complete("Once upon a time", { maxTokens: 100, temperature: 0 }).completion();
    });
    const [engine] = page.workers();
    const { clock, workers } = await engine.evaluate(() => counts);
    const tokens = await page.evaluate(() => answer.tokens.length);
    site.heads.delete("/dist/worker.js");
    await context.close();
    assert.equal(workers, 1);
    assert.ok(tokens >= 50 && clock < 30 * tokens, `${clock} readings of the clock for ${tokens} tokens`);
  });

  it("finds what the browser allows", async () => {
    const isolated = await within("/", () => PyEdge.features());
    assert.deepEqual([isolated.usable, isolated.simd, isolated.threads], [true, true, true]);
    const plain = await within("/plain/", () => PyEdge.features());
    assert.deepEqual([plain.usable, plain.threads, plain.module.includes("threads")], [true, false, false]);
    assert.match(plain.reason, /COOP and COEP/);
  });

  for (const [module, place] of [
    ["wasm128", "/plain/"],
    ["wasm128-threads", "/"],
    ["wasmrelaxed", "/plain/"],
    ["wasmrelaxed-threads", "/"],
  ])
    it(`runs ${module}`, async () => {
      await within(place, async ({ module, native }) => {
        const threads = module.endsWith("-threads") ? 2 : 1;
        const model = await PyEdge.load(new URL("model.gguf", location.href), { module, threads, context: 2048 });
        same.check("module", [model.info.module, model.info.threads], [module, threads]);
        await same.greedy(model, native.greedy);
        if (module.startsWith("wasm128")) await same.drawn(model, native);
        await same.text(model, native);
        await same.embedding(model, native);
        await same.turns(model);
        await same.stopping(model, 2000);
        await same.stops(model);
        await same.wrongCalls(model, library);
        await model.close();
      }, { module, native });
    });

  it("agrees with the references", { skip: references ? false : "needs PYEDGE_REFS" }, async () => {
    await within("/", async ({ tokens, tiny }) => {
      for (const module of ["wasm128", "wasmrelaxed-threads"]) {
        const model = await PyEdge.load(new URL("model.gguf", location.href), { module });
        const text = new Uint8Array(await (await fetch("mixed.txt")).arrayBuffer());
        same.check("plain", await model.tokenize(text, { addSpecial: false }), tokens.plain);
        same.check("special", await model.tokenize(text), tokens.add_special);
        same.check("parsed", await model.tokenize(text, { addSpecial: false, parseSpecial: true }), tokens.parse_special);
        await model.close();
        for (const { name, ids, logits } of tiny) {
          const small = await PyEdge.load(new URL(`${name}.gguf`, location.href), { module, kvType: "f32", cache: false });
          const found = await small.logits(ids);
          const far = Math.max(...logits.map((value, i) => Math.abs(value - found[i])));
          same.holds(`${name} with ${module}`, far < 1e-4, String(far));
          await small.close();
        }
      }
    }, references);
  });

  it("puts adapters on and off", { skip: references?.adapters ? false : "needs PYEDGE_REFS and a build with adapters" }, async () => {
    await within("/", async (adapters) => {
      const model = await PyEdge.load(new URL("model.gguf", location.href), { context: 512 });
      const sources = Object.fromEntries(Object.keys(adapters.sources).map((name) => [name, new URL(`lora/${name}/${adapters.sources[name].split("/").pop()}`, location.href)]));
      await same.adapters(model, { ...adapters, sources });
      await model.close();
    }, references.adapters);
  });

  it("keeps a file, and reads it again without the network", async () => {
    const { context, page, complaints } = await visit(browser, `${site.url}/`);
    const load = () =>
      page.evaluate(async () => {
        const { PyEdge } = await import(new URL("dist/index.js", location.href).href);
        const told = [];
        const model = await PyEdge.load(new URL("model-kept.gguf", location.href), { onProgress: ({ phase }) => told.push(phase) });
        const { fromCache } = model.info;
        const text = (await model.complete("1, 2, 3,", { temperature: 0, maxTokens: 3 }).completion()).text;
        await model.close();
        return { fromCache, phases: [...new Set(told)], text, kept: await PyEdge.cached() };
      });
    const first = await load();
    assert.deepEqual([first.fromCache, first.phases], [false, ["fetch", "open"]]);
    assert.equal(first.kept.length, 1);
    assert.equal(first.kept[0].bytes, statSync(native.model).size);
    assert.match(first.kept[0].sha256, /^[0-9a-f]{64}$/);
    await page.reload();
    const before = site.log.length;
    const second = await load();
    assert.deepEqual([second.fromCache, second.phases, second.text], [true, ["cache", "open"], first.text]);
    assert.ok(!site.log.slice(before).some((request) => request.path === "/model-kept.gguf"));
    // The sum that was asked for decides, not the address.
    const stale = await page.evaluate(async () => {
      const { PyEdge } = await import(new URL("dist/index.js", location.href).href);
      return PyEdge.load(new URL("model-kept.gguf", location.href), { sha256: "0".repeat(64) }).catch((error) => error.message);
    });
    assert.match(stale, /SHA-256/);
    const left = await page.evaluate(async () => {
      const { PyEdge } = await import(new URL("dist/index.js", location.href).href);
      await PyEdge.uncache();
      return PyEdge.cached();
    });
    assert.deepEqual(left, []);
    assert.deepEqual(complaints, []);
    await context.close();
  });

  it("goes on with half a file after a reload", async () => {
    const { context, page } = await visit(browser, `${site.url}/`);
    const size = statSync(native.model).size;
    site.faults.set("/model-half.gguf", "hold");
    const begun = await page.evaluate(async () => {
      const { PyEdge } = await import(new URL("dist/index.js", location.href).href);
      const stop = new AbortController();
      return new Promise((done) => {
        PyEdge.load(new URL("model-half.gguf", location.href), {
          signal: stop.signal,
          onProgress: ({ phase, loaded, total }) => phase === "fetch" && loaded > total / 3 && stop.abort(),
        }).catch((error) => done(error.name));
      });
    });
    assert.equal(begun, "AbortError");
    await page.reload();
    const before = site.log.length;
    site.faults.set("/model-half.gguf", "drop");
    const info = await page.evaluate(async () => {
      const { PyEdge } = await import(new URL("dist/index.js", location.href).href);
      const model = await PyEdge.load(new URL("model-half.gguf", location.href));
      await model.close();
      return model.info;
    });
    assert.equal(info.fileSize, size);
    const ranges = site.log.slice(before).filter(({ path }) => path === "/model-half.gguf").map(({ range }) => Number(/\d+/.exec(range)?.[0]));
    assert.equal(ranges.length, 2, "one request from the stored half on, one more after the connection dropped");
    assert.ok(ranges[0] > size / 4 && ranges[1] > ranges[0]);
    await context.close();
  });

  it("tells what is wrong, and goes on", async () => {
    await within("/", async () => {
      const at = (name) => new URL(name, location.href);
      await same.rejects("missing", PyEdge.load(at("nothing.gguf")), "NetworkError", /404/);
      await same.rejects("no model", PyEdge.load(at("dist/index.js")), "ModelFileError", /GGUF/);
      const whole = await (await fetch("model.gguf")).arrayBuffer();
      await same.rejects("cut short", PyEdge.load(new Blob([whole.slice(0, 5 << 20)])), "ModelFileError", /./);
      await same.rejects("no files", PyEdge.load(at("model.gguf"), { assets: at("nowhere/") }), "ClosedError", /worker/);
      const model = await PyEdge.load(new File([whole], "Some model.gguf"));
      same.check("answers", (await model.complete("Hello", { maxTokens: 2 }).completion()).tokens.length, 2);
      await model.close();
    }, undefined, [/404/]);
  });

  it("ends the threads of a page that goes", async () => {
    // Not left to the browser, which waits two seconds for threads that sleep, while the next page loads the model anew.
    const told = await within("/", async () => {
      const model = await PyEdge.load(new URL("model.gguf", location.href), { threads: 2 });
      const answer = model.complete("Once upon a time", { maxTokens: 2000 }).completion();
      await new Promise((done) => setTimeout(done, 500));
      dispatchEvent(new PageTransitionEvent("pagehide", { persisted: true }));
      await model.tokenize("It may come back.");
      dispatchEvent(new PageTransitionEvent("pagehide"));
      const { finishReason } = await answer;
      await new Promise((done) => setTimeout(done, 500));
      return [finishReason, await model.tokenize("Gone.").catch((error) => `${error.name}: ${error.message}`)];
    });
    assert.deepEqual(told, ["cancelled", "ClosedError: no model is loaded"]);
  });

  it("gives the memory back", async () => {
    const { context, page } = await visit(browser, `${site.url}/`);
    const session = await browser.newBrowserCDPSession();
    // Pages of memory that no file stands behind. Not all that is resident: the browser starts spare renderers when it
    // likes, and most of each is the browser's own program.
    const occupied = async () => {
      const { processInfo } = await session.send("SystemInfo.getProcessInfo");
      const renderers = processInfo.filter(({ type }) => type === "renderer").map(({ id }) => id);
      const of = (id) => {
        try {
          const found = readFileSync(`/proc/${id}/status`, "utf8").matchAll(/^Rss(?:Anon|Shmem):\s+(\d+) kB/gm);
          return [...found].reduce((sum, [, kb]) => sum + 1024 * Number(kb), 0);
        } catch {
          return 0;
        }
      };
      return renderers.map(of).reduce((sum, bytes) => sum + bytes, 0);
    };
    const size = statSync(native.model).size;
    const before = await occupied();
    const peak = await page.evaluate(async (times) => {
      const { PyEdge } = await import(new URL("dist/index.js", location.href).href);
      let most = 0;
      for (let i = 0; i < times; i++) {
        const model = await PyEdge.load(new URL("model.gguf", location.href));
        await model.complete("Hello", { maxTokens: 4 }).completion();
        most = Math.max(most, (await model.usage()).memoryBytes);
        await model.close();
      }
      return most;
    }, 10);
    assert.ok(peak < size + 30e6, `${peak} bytes of module memory`);
    // Nothing on the page's side waits for a collection; the browser ends busy workers within some seconds.
    let left = Infinity;
    for (let i = 0; i < 120 && left > size; i++) {
      await new Promise((done) => setTimeout(done, 250));
      left = (await occupied()) - before;
    }
    assert.ok(left < size, `${left} bytes more than before ten loads of ${size}`);
    await context.close();
  });

  it("works in a worker of the page", async () => {
    await within("/", async () => {
      const code = `import(${JSON.stringify(new URL("dist/index.js", location.href).href)}).then(async ({ PyEdge }) => {
        const model = await PyEdge.load(${JSON.stringify(new URL("model.gguf", location.href).href)}, { threads: 2 });
        postMessage((await model.complete("Hello", { maxTokens: 3 }).completion()).tokens.length);
      }).catch((error) => postMessage(String(error)));`;
      const worker = new Worker(URL.createObjectURL(new Blob([code], { type: "text/javascript" })), { type: "module" });
      const said = await new Promise((done) => (worker.onmessage = ({ data }) => done(data)));
      worker.terminate();
      same.check("tokens", said, 3);
    });
  });

  it("is isolated by its service worker where the host cannot", async () => {
    const { context, page, complaints } = await visit(browser, `${site.url}/plain/`);
    assert.equal(await page.evaluate(() => crossOriginIsolated), false);
    const isolate = () => import(new URL("isolate.js", location.href).href).then(({ isolate }) => isolate("./isolate.js"));
    const loaded = page.waitForEvent("load");
    await page.evaluate(isolate).catch(() => undefined); // does not return: the page is loaded once more
    await loaded;
    assert.equal(await page.evaluate(() => crossOriginIsolated), true);
    assert.equal(await page.evaluate(isolate), true);
    const info = await page.evaluate(async () => {
      const { PyEdge } = await import(new URL("dist/index.js", location.href).href);
      const model = await PyEdge.load(new URL("model.gguf", location.href), { threads: 2, cache: false });
      await model.close();
      return model.info;
    });
    assert.deepEqual([info.threads, info.module.endsWith("-threads")], [2, true]);
    assert.deepEqual(complaints, []);
    await context.close();
  });
});
