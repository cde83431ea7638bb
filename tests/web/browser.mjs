/** Chromium, and the page as its user sees it. */
import { chromium } from "playwright-core";
import { launching } from "./chromium.mjs";

export { executable } from "./chromium.mjs";

export const launch = () => chromium.launch(launching);

/** A fresh visitor. What the browser complains of is in `complaints`: a test ends with none that it does not expect. */
export async function visit(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, locale: "en-US", ...options });
  const page = await context.newPage();
  const complaints = [];
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  if (url) await page.goto(url);
  return { context, page, complaints };
}
