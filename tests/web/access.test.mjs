/** The chat page for those who use the keyboard or a screen reader, in every state, light, dark, narrow and Chinese. */
import assert from "node:assert/strict";
import { readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, describe, it } from "node:test";
import { executable, launch } from "./browser.mjs";
import { answered, ask, buildPage, load, open, ready, until } from "./page.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** What axe finds wrong, by rule and element. */
async function faults(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.target.join(" ")).join(", ")}`);
}

describe("access to the chat page", { skip: executable ? false : "needs Chromium (PYEDGE_CHROMIUM)", concurrency: false }, () => {
  let folder;
  let browser;
  before(async () => {
    folder = buildPage("double");
    browser = await launch();
  });
  after(async () => {
    await browser?.close();
    if (folder) rmSync(folder, { recursive: true });
  });

  for (const [what, visitor] of [
    ["light", {}],
    ["dark", { colorScheme: "dark" }],
    ["narrow", { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true }],
  ])
    it(`finds nothing wrong with axe: ${what}`, async () => {
      const { page, end } = await open(browser, folder, { visitor: { ...visitor, reducedMotion: "reduce" } });
      const found = {};
      const look = async (state) => {
        const list = await faults(page);
        if (list.length) found[state] = list;
      };
      await page.getByRole("button", { name: "Load Alpha" }).waitFor();
      await look("welcome");
      await load(page);
      await look("empty conversation");
      await page.getByRole("button", { name: "neko", exact: true }).click();
      await page.getByRole("slider", { name: "Strength of neko" }).waitFor();
      await ask(page, "markdown");
      await answered(page);
      await look("conversation");
      await page.getByRole("button", { name: "Tokens" }).click();
      await page.getByRole("option").nth(2).click();
      await look("tokens");
      await page.getByRole("banner").getByRole("button", { name: "Settings" }).click();
      await look("settings");
      await page.getByRole("button", { name: "Benchmark" }).click();
      await look("benchmark");
      await page.keyboard.press("Escape");
      await page.getByRole("button", { name: "Model: Alpha" }).click();
      await look("choosing a model");
      await page.keyboard.press("Escape");
      const width = await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth);
      assert.ok(width, "the page is wider than the screen");
      assert.deepEqual(found, {});
      await end();
    });

  it("is walked from end to end with the keyboard alone", async () => {
    const { page, end } = await open(browser, folder);
    const tabTo = async (name) => {
      for (let at = 0; at < 40; at++) {
        const here = await page.evaluate(() => {
          const { activeElement: element } = document;
          return element.getAttribute("aria-label") ?? element.textContent ?? "";
        });
        if (here.replace(/\s+/g, " ").trim().startsWith(name)) return;
        await page.keyboard.press("Tab");
      }
      assert.fail(`the keyboard does not reach: ${name}`);
    };
    await page.getByRole("button", { name: "Load Alpha" }).waitFor();
    await page.evaluate(() => document.activeElement.blur());
    await tabTo("Skip to the message box");
    await tabTo("Load Alpha");
    await page.keyboard.press("Enter");
    await ready(page);
    await until(() => page.evaluate(() => document.activeElement.id === "message"), "the focus in the message box");
    await page.keyboard.type("One");
    await page.keyboard.press("Shift+Enter");
    await page.keyboard.type("Two");
    await page.keyboard.press("Enter");
    assert.equal(await answered(page), "You said: One\nTwo");
    await page.evaluate(() => document.querySelector("main .scroller").focus());
    await tabTo("Tokens");
    await page.keyboard.press("Enter");
    await page.getByRole("listbox").waitFor();
    await page.keyboard.press("Alt+t");
    await page.getByRole("listbox").waitFor({ state: "detached" });
    await page.keyboard.press("?");
    await page.getByRole("dialog", { name: "Keyboard" }).waitFor();
    await page.keyboard.press("Escape");
    await page.locator("dialog").waitFor({ state: "detached" }); // until then the keys are the dialog's
    await page.keyboard.press("/");
    await page.keyboard.type("slow");
    await page.keyboard.press("Enter");
    await page.locator(".prose").getByText("word2").waitFor();
    await page.keyboard.press("Escape");
    await page.getByText("Stopped.").waitFor();
    await page.keyboard.press("Alt+n");
    await page.getByRole("heading", { name: "What is on your mind?" }).waitFor();
    await end();
  });

  it("tells a screen reader when an answer begins, and what it was", async () => {
    const { page, end } = await open(browser, folder);
    await load(page);
    await ask(page, "slow");
    const heard = page.locator("[aria-live=polite].sr-only");
    await heard.getByText("Answering.").waitFor({ state: "attached" });
    await page.locator(".prose").getByText("word2").waitFor();
    await page.keyboard.press("Escape");
    await until(async () => (await heard.textContent()).startsWith("word0 word1"), "the answer");
    await end();
  });
});
