/** What the tests of the page have in common: the page built over the stand-in for the library, and its user's moves. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { visit } from "./browser.mjs";
import { serve } from "./server.mjs";

const root = resolve(import.meta.dirname, "../..");

/** Builds the page over the library in `library` (a folder, relative to here), and gives the folder. */
export function buildPage(library) {
  const out = mkdtempSync(join(tmpdir(), "pyedge-page-"));
  execFileSync(join(root, "wasm/page/node_modules/.bin/vite"), ["build", "--logLevel", "error"], {
    cwd: join(root, "wasm/page"),
    env: { ...process.env, PYEDGE_PAGE_LIBRARY: resolve(import.meta.dirname, library), PYEDGE_PAGE_OUT: out },
    stdio: "inherit",
  });
  return out;
}

const gguf = (text, size) => Buffer.concat([Buffer.from(text), Buffer.alloc(size)]);

export const files = {
  "a.gguf": gguf("GGUF model a", 400_000),
  "b.gguf": gguf("GGUF model b", 300_000),
  "neko.gguf": Buffer.from("GGUF adapter neko"),
  "other.gguf": Buffer.from("GGUF lora of another base"),
  "models.json": Buffer.from(
    JSON.stringify({
      models: [
        { name: "Alpha", url: "a.gguf", bytes: 400_012, about: { en: "The first.", zh: "第一个。" } },
        { name: "Beta", url: "b.gguf" },
      ],
      adapters: [
        { name: "neko", url: "neko.gguf" },
        { name: "other", url: "other.gguf" },
      ],
    }),
  ),
};

/** Waits until something holds; its value. */
export async function until(check, what, seconds = 10) {
  for (const end = Date.now() + 1000 * seconds; ; ) {
    const value = await check();
    if (value) return value;
    assert.ok(Date.now() < end, `waited ${seconds} s for: ${what}`);
    await new Promise((done) => setTimeout(done, 25));
  }
}

/** Waits until there are so many of something. */
export const counts = (locator, many) => until(async () => (await locator.count()) === many, `${many} of ${locator}`);

/** A visitor on a host of their own. `end()` asserts that the browser complained of nothing but what was expected. */
export async function open(browser, folder, { server = {}, visitor = {}, path = "", init, expected = [] } = {}) {
  const host = await serve(folder, { ...server, files: { ...files, ...server.files } });
  const { context, page, complaints } = await visit(browser, null, visitor);
  page.setDefaultTimeout(10_000);
  if (init) await context.addInitScript(init);
  await page.goto(host.url + path);
  await page.locator("#message").waitFor();
  return {
    host,
    context,
    page,
    complaints,
    async end() {
      await context.close();
      await host.close();
      const unexpected = complaints.filter((text) => !expected.some((pattern) => pattern.test(text)));
      assert.deepEqual(unexpected, [], "the browser's console");
    },
  };
}

export async function load(page, name = "Alpha") {
  await page.getByRole("button", { name: `Load ${name}` }).click();
  await ready(page, name);
}

export async function ready(page, name = "Alpha") {
  await page.getByRole("button", { name: `Model: ${name}. Change it` }).waitFor();
  await page.locator(".pill.ready").waitFor();
}

export const message = (page) => page.getByRole("textbox", { name: "Message" });
export const replies = (page) => page.locator(".turn.assistant");

export async function ask(page, text) {
  await message(page).fill(text);
  await message(page).press("Enter");
}

/** The text of the last answer, when it is complete. */
export async function answered(page) {
  await page.locator(".turn.assistant").last().waitFor();
  await page.locator(".turn.assistant[aria-busy=false]").last().waitFor();
  await until(async () => (await page.locator(".turn.assistant[aria-busy=true]").count()) === 0, "the end of the answer");
  return (await page.locator(".turn.assistant").last().locator(".prose, .tokens").first().innerText()).trim();
}

/** Drops files as a hand would: [name, content] each, a text or a Buffer. */
export async function drop(page, ...contents) {
  const list = contents.map(([name, content]) => [name, Buffer.from(content).toString("base64")]);
  const transfer = await page.evaluateHandle((list) => {
    const data = new DataTransfer();
    for (const [name, bytes] of list) data.items.add(new File([Uint8Array.from(atob(bytes), (byte) => byte.charCodeAt(0))], name));
    return data;
  }, list);
  await page.dispatchEvent("body", "dragenter", { dataTransfer: transfer });
  await page.dispatchEvent("body", "drop", { dataTransfer: transfer });
}
