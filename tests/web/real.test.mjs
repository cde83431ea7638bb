/** The chat page with the library itself and a small real model, from `pyedge web`: the whole walk once. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { describe, it } from "node:test";
import { gzipSync } from "node:zlib";
import { executable, launch, visit } from "./browser.mjs";
import { answered, ask, drop, ready, until } from "./page.mjs";

const root = resolve(import.meta.dirname, "../..");
const built = join(root, "wasm/page/dist");
const pyedge = join(root, ".venv/bin/pyedge");
const refs = process.env.PYEDGE_REFS ?? join(root, "../shared/refs");
const missing = !executable ? "Chromium" : !existsSync(built) ? "wasm/page/dist (make wasm)" : !existsSync(pyedge) ? ".venv (make test)" : "";
const name = "smollm2-135m-instruct";

/** Runs `pyedge web`; its address, and how to end it. */
async function server(...options) {
  const process_ = spawn(pyedge, ["web", "--port", "0", ...options], { stdio: ["ignore", "ignore", "pipe"] });
  let told = "";
  process_.stderr.on("data", (data) => (told += data));
  const url = await until(() => /http:\/\/127\.0\.0\.1:\d+\//.exec(told)?.[0], "the address", 60);
  return { url, end: () => process_.kill("SIGINT") };
}

describe("the chat page with a real model", { skip: missing ? `needs ${missing}` : false, concurrency: false, timeout: 300_000 }, () => {
  it("costs a visitor at most 500 kB", () => {
    // Of the modules, the service worker keeps the two that this browser may take.
    const files = readdirSync(built, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile() && !/wasm128/.test(entry.name));
    const bytes = files.reduce((sum, entry) => sum + gzipSync(readFileSync(join(entry.parentPath, entry.name)), { level: 9 }).length, 0);
    assert.ok(bytes <= 500_000, `${bytes} bytes, compressed`);
  });

  it("loads, answers, stops, takes an adapter, refuses what is no model, and comes back from storage", async (test) => {
    const host = await server("-m", name);
    test.after(() => host.end());
    const browser = await launch();
    test.after(() => browser.close());
    const { page, context, complaints } = await visit(browser, host.url);
    page.setDefaultTimeout(60_000);
    await ready(page, name);
    await page.getByRole("banner").getByRole("button", { name: "Settings" }).click();
    await page.getByLabel("Temperature").fill("0");
    await page.getByLabel("Longest answer, in tokens").fill("32");
    await page.keyboard.press("Escape");
    await ask(page, "What is the capital of France?");
    assert.match(await answered(page), /Paris/);
    await page.getByText(/tokens\/s · first token/).waitFor();
    await page.getByRole("button", { name: "Tokens" }).click();
    await until(async () => (await page.getByRole("option").count()) > 3, "tokens");
    await page.getByRole("option").first().click();
    await until(async () => (await page.locator(".choices li").count()) >= 5, "alternatives");
    await page.getByRole("button", { name: "Tokens" }).click();

    await page.getByRole("banner").getByRole("button", { name: "Settings" }).click();
    await page.getByLabel("Longest answer, in tokens").fill("2048");
    await page.keyboard.press("Escape");
    await ask(page, "Tell me a very long story about a lighthouse.");
    await until(async () => (await page.locator(".turn.assistant").last().innerText()).length > 60, "the story's beginning", 30);
    await page.keyboard.press("Escape");
    await page.getByText("Stopped.").waitFor();

    await drop(page, ["notes.gguf", "This is no model at all, only a note."]);
    await page.getByRole("alert").waitFor();
    await ready(page, name);
    const adapter = join(refs, "lora/adapters/neko.gguf");
    if (existsSync(adapter)) {
      await page.locator("button.chip.add").click();
      await page.locator("#adapter-file").setInputFiles(adapter);
      await page.locator(".chip.on").waitFor();
    }
    await page.evaluate(() => navigator.serviceWorker.ready.then(() => undefined));
    host.end();
    await context.setOffline(true);
    await page.reload();
    await ready(page, name);
    await page.getByRole("button", { name: "New chat" }).first().click();
    await ask(page, "What is the capital of Italy?");
    await until(async () => (await page.locator(".turn.assistant").last().innerText()).length > 20, "an answer without a network", 30);
    const unexpected = complaints.filter((text) => !/Failed to load resource/.test(text));
    assert.deepEqual(unexpected, []);
  });
});
