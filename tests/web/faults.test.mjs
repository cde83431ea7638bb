/** The page as it is shipped, with the library and a model of some megabytes, where the host, the network, the browser
 * or the file are not as they should be: it works, or says in one sentence why not, and can be used afterwards. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { closeSync, existsSync, ftruncateSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, describe, it } from "node:test";
import { executable, launch } from "./browser.mjs";
import { answered, ask, counts, drop, open, ready, until } from "./page.mjs";

const root = resolve(import.meta.dirname, "../..");
const built = join(root, "wasm/page/dist");
const python = join(root, ".venv/bin/python");
const missing = !executable ? "Chromium" : !existsSync(built) ? "wasm/page/dist (make wasm)" : !existsSync(python) ? ".venv (make test)" : "";

describe("the page under bad conditions", { skip: missing ? `needs ${missing}` : false, concurrency: false, timeout: 500_000 }, () => {
  let folder;
  let browser;
  let letters; // the whole model
  let parts; // the same one, split: [name, bytes]
  let answer; // what it says to "Hello"
  const model = (name) => join(folder, name);

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "pyedge-models-"));
    execFileSync(python, [join(import.meta.dirname, "models.py"), folder], { env: { ...process.env, PYTHONPATH: join(root, "tests/py") } });
    letters = readFileSync(model("letters.gguf"));
    parts = [1, 2, 3].map((number) => `split-0000${number}-of-00003.gguf`).map((name) => [name, readFileSync(model(name))]);
    browser = await launch();
    const { page, end } = await visit();
    await load(page);
    answer = await says(page);
    assert.match(answer, /^[a-z]{8,}$/);
    await end();
  });
  after(async () => {
    await browser?.close();
    if (folder) rmSync(folder, { recursive: true });
  });

  const list = JSON.stringify({
    models: ["letters", "other"].map((name) => ({ name, url: `${name}.gguf` })),
    adapters: ["fits", "foreign"].map((name) => ({ name, url: `${name}.gguf` })),
  });

  /** A visitor of a host with the models, who gets the same short answer each time. `worker` is run in the engine's
   * worker before anything else, `init` in the page. */
  async function visit({ server = {}, worker, init, ...options } = {}) {
    const files = { "models.json": Buffer.from(list), "letters.gguf": model("letters.gguf"), "other.gguf": model("letters.gguf"), ...server.files };
    for (const name of ["fits.gguf", "foreign.gguf", ...parts.map(([name]) => name)]) files[name] ??= model(name);
    if (worker) files["engine/worker.js"] = Buffer.from(`(${worker})();\n${readFileSync(join(built, "engine/worker.js"), "utf8")}`);
    const opened = await open(browser, built, {
      ...options,
      server: { ...server, files },
      init: `${init ? `(${init})();` : ""}
        try { localStorage.setItem("pyedge.sampling", '{"temperature": 1, "seed": "3", "maxTokens": 16}'); } catch {}`,
    });
    opened.page.setDefaultTimeout(30_000);
    return opened;
  }
  async function load(page, name = "letters") {
    await page.getByRole("button", { name: `Load ${name}` }).click();
    await ready(page, name);
  }
  /** In a conversation of its own. */
  async function says(page) {
    if (await page.locator(".turn").count()) await page.getByRole("button", { name: "New chat" }).first().click();
    await ask(page, "Hello");
    return answered(page);
  }
  /** One sentence is on the page; then a model is loaded as if nothing had been. */
  async function told(page, sentence, name = "letters") {
    const alert = page.getByRole("alert");
    await alert.getByText(sentence).waitFor();
    await counts(alert, 1);
    await alert.getByRole("button", { name: "Close" }).click();
    await load(page, name);
    assert.equal(await says(page), answer);
  }
  const failed = /Failed to load resource/; // what Chromium itself writes of a failed request
  const isolated = (page) => until(() => page.evaluate(() => crossOriginIsolated).catch(() => false), "isolation", 60);
  const rangesOf = (host, name) => host.asked.filter(({ path }) => path === `/${name}`).map(({ range }) => range);

  // ---- hosts ----

  it("has threads on a host that sends no headers, by its service worker", async () => {
    const { page, end } = await visit({ server: { headers: false } });
    await isolated(page);
    await load(page);
    await page.getByText(/^\d+ threads$/).waitFor();
    assert.equal(await says(page), answer);
    await end();
  });

  it("runs on one thread where there is no service worker either", async () => {
    const init = () => (navigator.serviceWorker.register = () => Promise.reject(new DOMException("refused", "SecurityError")));
    const { page, end } = await visit({ server: { headers: false }, init });
    assert.equal(await page.evaluate(() => crossOriginIsolated), false);
    await load(page);
    await page.getByText("1 thread", { exact: true }).waitFor();
    assert.equal(await says(page), answer);
    await end();
  });

  // ---- split files ----

  it("loads the parts of a split file by the address of the first", async () => {
    const { page, host, end } = await visit();
    await page.getByLabel("Address of a model file").fill(`${host.url}${parts[0][0]}`);
    await page.getByRole("button", { name: "Load", exact: true }).click();
    await ready(page, "split");
    assert.equal(await says(page), answer);
    // It is one model in the list, and leaves with all of its parts.
    await page.getByRole("button", { name: "Model: split" }).click();
    const dialog = page.getByRole("dialog");
    await counts(dialog.getByRole("button", { name: /^Load split/ }), 1);
    await dialog.getByRole("button", { name: "Remove split from this browser" }).click();
    await counts(dialog.getByRole("button", { name: /^Load split/ }), 0);
    await end();
  });

  it("loads the parts of a split file as they are dropped, and says when one is missing", async () => {
    const { page, end } = await visit();
    await drop(page, parts[2], parts[0], parts[1]);
    await ready(page, "split");
    assert.equal(await says(page), answer);
    await drop(page, parts[2], parts[0]);
    await page.getByRole("alert").getByText(/^split-00001-of-00003\.gguf: the file says that the model has 3 parts; 2 were given\. split is back\.$/).waitFor();
    assert.equal(await says(page), answer);
    await end();
  });

  // ---- storage ----

  const noPrivateFiles = () => {
    StorageManager.prototype.getDirectory = () => Promise.reject(new DOMException("no private files", "SecurityError"));
  };
  const noStorage = () => {
    StorageManager.prototype.getDirectory = () => Promise.reject(new DOMException("refused", "SecurityError"));
    CacheStorage.prototype.open = () => Promise.reject(new DOMException("refused", "SecurityError"));
  };

  it("keeps models in the Cache API where there are no private files", async () => {
    const { page, host, end } = await visit({ worker: noPrivateFiles, init: noPrivateFiles });
    await load(page);
    assert.equal(await says(page), answer);
    await counts(page.getByRole("alert"), 0);
    await page.reload();
    await ready(page, "letters"); // by itself, since it is kept
    assert.equal(await says(page), answer);
    assert.equal(rangesOf(host, "letters.gguf").length, 1);
    await end();
  });

  for (const [what, worker, quota] of [
    ["refuses storage", noStorage],
    ["has no room", undefined, 3 << 20],
    ["has no room in the Cache API either", noPrivateFiles, 3 << 20],
  ])
    it(`loads all the same where the browser ${what}`, async () => {
      const { page, context, host, end } = await visit({ worker });
      if (quota) {
        await page.evaluate(() => navigator.serviceWorker.ready.then(() => undefined)); // the page's own files are kept by now
        const { usage } = await page.evaluate(() => navigator.storage.estimate());
        const session = await context.newCDPSession(page);
        await session.send("Storage.overrideQuotaForOrigin", { origin: host.origin, quotaSize: usage + quota });
      }
      await load(page);
      await page.getByRole("status").getByText(/^This browser's storage is full or refused, so the file will be fetched again next time\.$/).waitFor();
      assert.equal(await says(page), answer);
      await end();
    });

  // ---- the network ----

  it("takes a download up again where the connection dropped", async () => {
    const { page, host, end } = await visit({ server: { breakAt: { "letters.gguf": 0.5 }, breaks: { "letters.gguf": 1 } }, expected: [failed] });
    await load(page);
    assert.equal(await says(page), answer);
    const [first, second, ...more] = rangesOf(host, "letters.gguf");
    assert.deepEqual([first, more], [undefined, []]);
    assert.match(second, /^bytes=[1-9]\d{5,}-$/);
    await end();
  });

  const impatient = () => {
    const later = globalThis.setTimeout;
    globalThis.setTimeout = (run, ms, ...more) => later(run, ms / 50, ...more); // pauses between attempts
  };

  it("says that a download could not be ended, and goes on from there next time", async () => {
    const breakAt = { "letters.gguf": 0.5 };
    const { page, host, end } = await visit({ server: { breakAt }, worker: impatient, expected: [failed] });
    await page.getByRole("button", { name: "Load letters" }).click();
    const sentence = /^The connection dropped after \d+ of \d+ bytes, and could not be taken up again: load again to go on from there\.$/;
    await page.getByRole("alert").getByText(sentence).waitFor();
    delete breakAt["letters.gguf"]; // the network is back
    await told(page, sentence);
    assert.match(rangesOf(host, "letters.gguf").at(-1), /^bytes=[1-9]\d{5,}-$/);
    await end();
  });

  it("says it where the server sends files from their beginning only", async () => {
    const server = { breakAt: { "letters.gguf": 0.5 }, ranges: false };
    const { page, host, end } = await visit({ server, worker: impatient, expected: [failed] });
    await page.getByRole("button", { name: "Load letters" }).click();
    await told(page, /^The connection dropped after \d+ of \d+ bytes, each time, and the server can only begin anew:/, "other");
    assert.ok(rangesOf(host, "letters.gguf").length <= 3);
    await end();
  });

  it("cancels a download, and goes on from there when asked again", async () => {
    const { page, host, end } = await visit({ server: { delay: { "letters.gguf": 20 } } });
    await page.getByRole("button", { name: "Load letters" }).click();
    await until(async () => Number(await page.getByRole("progressbar").getAttribute("value")) > 2e6, "progress", 60);
    await page.getByRole("button", { name: "Cancel loading" }).click();
    await page.getByRole("heading", { name: "A language model, in this tab" }).waitFor();
    await counts(page.getByRole("alert"), 0);
    await load(page);
    assert.equal(await says(page), answer);
    assert.match(rangesOf(host, "letters.gguf")[1], /^bytes=[1-9]\d{5,}-$/);
    await end();
  });

  // ---- tabs ----

  it("serves two tabs, also while both fetch the same model", async () => {
    const { page, host, context, end } = await visit({ server: { delay: { "letters.gguf": 10 } } });
    const second = await context.newPage();
    second.setDefaultTimeout(30_000);
    await second.goto(host.url);
    await Promise.all([page, second].map((tab) => tab.getByRole("button", { name: "Load letters" }).click()));
    await Promise.all([page, second].map((tab) => ready(tab, "letters")));
    await Promise.race([page, second].map((tab) => tab.getByText("A model is also loaded in another tab: each takes memory of its own.").waitFor()));
    await counts(page.getByText(/fetched again/), 0);
    await counts(second.getByText(/fetched again/), 0);
    assert.deepEqual(await Promise.all([page, second].map(says)), [answer, answer]);
    await second.close();
    const before = rangesOf(host, "letters.gguf").length;
    await page.reload();
    await ready(page, "letters");
    assert.equal(rangesOf(host, "letters.gguf").length, before, "one of them kept it");
    await end();
  });

  it("writes on in a tab that is not shown", async () => {
    const { page, context, end } = await visit();
    await load(page);
    await page.getByRole("banner").getByRole("button", { name: "Settings" }).click();
    await page.getByLabel("Longest answer, in tokens").fill("600");
    await page.keyboard.press("Escape");
    const other = await context.newPage();
    await ask(page, "Hello");
    await other.bringToFront();
    await page.getByText("The limit of tokens is reached.").waitFor();
    const text = await answered(page);
    assert.ok(text.length >= 600 && text.startsWith(answer), text);
    await end();
  });

  // ---- browsers ----

  it("says in one sentence that a browser has no SIMD", async () => {
    const { page, end } = await visit({ init: () => (WebAssembly.validate = () => false) });
    await page.getByRole("alert").getByText(/^This browser's WebAssembly has no SIMD instructions.*: use a current version of Chrome/).waitFor();
    await counts(page.getByRole("alert"), 1);
    assert.ok(await page.getByRole("button", { name: "Load letters" }).isDisabled());
    await ask(page, "Are you there?"); // writes, and is shown why nothing answers
    await page.getByRole("dialog").getByRole("alert").getByText(/no SIMD/).waitFor();
    await end();
  });

  // ---- files ----

  const big = 5e9; // more than 32 bits can name

  it("says what is wrong with a file", async () => {
    const files = {
      "page.gguf": Buffer.from("<html>Moved</html>".repeat(100)),
      "half.gguf": letters.subarray(0, letters.length >> 1),
      "empty.gguf": Buffer.alloc(0),
      "huge.gguf": Buffer.from("GGUF"),
    };
    const { page, host, end } = await visit({ server: { files, claims: { "huge.gguf": big } }, expected: [failed] });
    const address = page.getByLabel("Address of a model file");
    for (const [name, sentence] of [
      ["page", /^page\.gguf: .* it looks like a web page: was the download refused\?$/],
      ["half", /^half\.gguf: .*; it is cut short or damaged\.$/],
      ["empty", /empty\.gguf is empty \(0 bytes\)/],
      ["huge", /The file has 5\.00 GB, but a browser's 32-bit WebAssembly holds at most 4\.09 GB/],
      ["missing", /missing\.gguf could not be fetched: the server answered 404/],
    ]) {
      await address.fill(`${host.url}${name}.gguf`);
      await page.getByRole("button", { name: "Load", exact: true }).click();
      const alert = page.getByRole("alert");
      await alert.getByText(sentence).waitFor();
      await counts(alert, 1);
      await alert.getByRole("button", { name: "Close" }).click();
    }
    await load(page);
    assert.equal(await says(page), answer);
    await end();
  });

  it("says that a chosen file is too large, and keeps the model that is there", async () => {
    const { page, end } = await visit();
    await load(page);
    const file = openSync(model("huge.gguf"), "w");
    writeSync(file, "GGUF");
    ftruncateSync(file, big); // takes no room on the disk
    closeSync(file);
    await page.getByRole("button", { name: "Model: letters" }).click();
    await page.locator("#model-file").setInputFiles(model("huge.gguf"));
    await page.getByRole("alert").getByText(/^The file has 5\.00 GB.* letters is back\.$/).waitFor();
    assert.equal(await says(page), answer);
    await end();
  });

  it("refuses an adapter of another model, and takes one that fits", async () => {
    const { page, end } = await visit();
    await load(page);
    await page.getByRole("button", { name: "foreign", exact: true }).click();
    await page.getByRole("alert").getByText(/the model has a width of 128, not 256/).waitFor();
    assert.equal(await says(page), answer);
    const fits = page.getByRole("button", { name: "fits", exact: true });
    await fits.click();
    await until(async () => (await fits.getAttribute("aria-pressed")) === "true", "the adapter", 60);
    await page.setViewportSize({ width: 375, height: 740 }); // a phone: the chips are moved sideways, the page is not
    assert.deepEqual(await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]), [375, 375]);
    await page.setViewportSize({ width: 1280, height: 800 });
    assert.notEqual(await says(page), answer);
    await fits.click();
    await until(async () => (await fits.getAttribute("aria-pressed")) === "false", "the model alone", 60);
    assert.equal(await says(page), answer);
    await end();
  });
});
