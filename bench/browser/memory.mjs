/** Memory of the chat page's tab, in headless Chromium on Linux.
 *
 *     node bench/browser/memory.mjs -m MODEL.gguf [-t 2] [-a 4] [-n 150] [--detail] [-o json|md]
 *
 * Loads the model by a click, as its first visitor would, and has `-a` questions answered with `-n` tokens each. What is
 * counted is the share of its process that Linux counts to it (`Pss` of smaps_rollup), less that of the same page before
 * the model, less the model's file: at the moment named, and as the highest of all samples (ten a second) until then.
 * `--detail` tells what the memory is: the module's, the heaps of the page and its workers. Needs `npm ci` here and the
 * built page. */
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";
import { launching } from "../../tests/web/chromium.mjs";
import { serve } from "../../tests/web/server.mjs";

const { values } = parseArgs({
  options: {
    model: { type: "string", short: "m" },
    threads: { type: "string", short: "t", default: "2" },
    answers: { type: "string", short: "a", default: "4" },
    tokens: { type: "string", short: "n", default: "150" },
    detail: { type: "boolean", default: false },
    output: { type: "string", short: "o", default: "md" },
  },
});
if (!values.model || !existsSync(values.model)) {
  console.error("memory.mjs: -m must name a model file");
  process.exit(2);
}
const file = statSync(values.model).size;
const built = resolve(import.meta.dirname, "../../wasm/page/dist");
const models = { models: [{ name: "model", url: "model.gguf", bytes: file }] };
const host = await serve(built, { files: { "models.json": Buffer.from(JSON.stringify(models)), "model.gguf": values.model } });
// A profile as a visitor has it: without one, files of the browser's storage are kept in memory.
const profile = mkdtempSync(join(tmpdir(), "pyedge-profile-"));
const context = await chromium.launchPersistentContext(profile, launching);
const browser = context.browser();
const [page] = context.pages();
page.setDefaultTimeout(120_000);
// Answers of one length, so that runs can be compared.
const options = JSON.stringify({ temperature: 0.8, seed: "1", maxTokens: Number(values.tokens) });
await context.addInitScript(`localStorage.setItem("pyedge.sampling", '${options}'); localStorage.setItem("pyedge.threads", '${values.threads}')`);
await page.goto(host.url);
await page.getByRole("button", { name: "Load model" }).waitFor();

// The browser has spare processes at hand: the tab is the one that grows by the file.
const system = await browser.newBrowserCDPSession();
const { processInfo } = await system.send("SystemInfo.getProcessInfo");
function pss(pid) {
  try {
    return 1024 * Number(/^Pss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"))?.[1] ?? 0);
  } catch {
    return 0; // a spare one that has ended
  }
}
await new Promise((done) => setTimeout(done, 2000));
const processes = processInfo.filter(({ type }) => type === "renderer").map(({ id }) => ({ id, bare: pss(id), highest: 0 }));
const above = ({ id, bare }) => pss(id) - bare - file;
const sampling = setInterval(() => {
  for (const one of processes) one.highest = Math.max(one.highest, above(one));
}, 100);
const tab = () => processes.map((one) => [above(one), one]).sort((a, b) => b[0] - a[0])[0];

const rows = [];
const session = await context.newCDPSession(page);
async function take(moment) {
  await new Promise((done) => setTimeout(done, 300));
  const [now, { highest }] = tab();
  const row = { moment, above_file: now, highest: Math.max(now, highest) };
  if (values.detail)
    row.detail = await page.evaluate(async () => {
      const { breakdown } = await performance.measureUserAgentSpecificMemory();
      return breakdown.filter(({ bytes }) => bytes > 1e4).map(({ bytes, types, attribution }) => [types.join() || "other", attribution.map(({ scope }) => scope).join(), bytes]);
    });
  rows.push(row);
}
await page.getByRole("button", { name: "Load model" }).click();
await page.locator(".pill.ready").waitFor();
await take("loaded");
for (let i = 0; i < Number(values.answers); i++) {
  await page.locator("#message").fill(["Why is the sky blue?", "Tell me a story about a lighthouse.", "List ten facts about rivers.", "How does a bicycle stay upright?"][i % 4]);
  await page.keyboard.press("Enter");
  await page.locator(".turn.assistant").nth(i).waitFor();
  // Asked seldom: what the question itself leaves behind in the page is memory, too.
  do await new Promise((done) => setTimeout(done, 500));
  while (await page.evaluate(() => document.querySelector(".turn.assistant[aria-busy=true]") !== null));
  await take(`answer ${i + 1}`);
}
await session.send("HeapProfiler.collectGarbage");
await take("collected");

if (values.output === "json") console.log(JSON.stringify({ browser: browser.version(), file, rows }, null, 1));
else {
  const mb = (bytes) => (bytes / 1e6).toFixed(1);
  console.log("| moment | MB above the file | highest until then |\n|---|---:|---:|");
  for (const { moment, above_file, highest, detail } of rows) {
    console.log(`| ${moment} | ${mb(above_file)} | ${mb(highest)} |`);
    for (const [type, scope, bytes] of detail ?? []) console.log(`|   ${type}: ${scope} | ${mb(bytes)} | |`);
  }
}
clearInterval(sampling);
await context.close();
rmSync(profile, { recursive: true });
await host.close();
