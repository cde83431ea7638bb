/** The chat page with a stand-in for the library: everything that is the page's own doing. */
import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { after, before, describe, it } from "node:test";
import { executable, launch } from "./browser.mjs";
import { answered, ask, buildPage, counts, drop, load, message, open, ready, replies, until } from "./page.mjs";

describe("the chat page", { skip: executable ? false : "needs Chromium (PYEDGE_CHROMIUM)", concurrency: false }, () => {
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
  const notice = (page) => page.getByRole("alert");

  it("loads a model from the list, answers, and says how fast", async () => {
    const { page, end } = await open(browser, folder, { server: { delay: { "a.gguf": 60 } } });
    assert.equal(await page.evaluate(() => crossOriginIsolated), true);
    await page.getByText("Everything stays on this machine.").waitFor();
    await page.getByRole("button", { name: "Load Alpha" }).click();
    const bar = page.getByRole("progressbar");
    await until(async () => Number(await bar.getAttribute("value")) > 0, "progress");
    await ready(page);
    await ask(page, "Hello there");
    assert.equal(await answered(page), "You said: Hello there");
    await page.getByText(/\d tokens\/s · first token \d/).waitFor();
    await page.getByText("123 MB memory").waitFor();
    await page.getByRole("navigation").getByRole("button", { name: "Hello there", exact: true }).waitFor();
    await end();
  });

  it("cancels loading, and takes another model", async () => {
    const { page, end } = await open(browser, folder, { server: { delay: { "a.gguf": 400 } } });
    await page.getByRole("button", { name: "Load Alpha" }).click();
    await page.getByRole("button", { name: "Cancel loading" }).click();
    await page.getByRole("heading", { name: "A language model, in this tab" }).waitFor();
    await counts(notice(page), 0);
    await load(page, "Beta");
    await end();
  });

  it("takes a message before there is a model", async () => {
    const { page, end } = await open(browser, folder);
    await ask(page, "Early bird");
    await page.getByRole("dialog").getByRole("button", { name: "Load Alpha" }).click();
    assert.equal(await answered(page), "You said: Early bird");
    await end();
  });

  it("loads a dropped file, and a file from an address", async () => {
    const { page, host, end } = await open(browser, folder);
    await drop(page, ["dropped.gguf", `GGUF${" ".repeat(2000)}`]);
    await ready(page, "dropped");
    await page.getByRole("button", { name: "Model: dropped" }).click();
    await page.getByLabel("Address of a model file").fill(`${host.url}b.gguf`);
    await page.getByRole("dialog").getByRole("button", { name: "Load", exact: true }).click();
    await ready(page, "b");
    await end();
  });

  it("stops at once, and writes on", async () => {
    const { page, end } = await open(browser, folder);
    await load(page);
    await ask(page, "slow");
    await page.getByText("word3").waitFor();
    await until(async () => /^[1-9]/.test(await page.locator(".facts .figures").innerText()), "the tokens counted meanwhile");
    await page.keyboard.press("Escape");
    const text = await answered(page);
    assert.ok(text.split(" ").length < 200, text);
    await page.getByText("Stopped.").waitFor();
    await page.getByRole("button", { name: "Write on from here" }).click();
    await until(async () => (await page.locator(".turn.assistant .prose").innerText()).endsWith("and so on."), "the continuation");
    await until(async () => (await page.locator(".versions").innerText()).includes("2/2"), "a second version");
    await ask(page, "slow");
    await page.getByText("word2").last().waitFor();
    await page.getByRole("button", { name: "Stop" }).click();
    await page.getByText("Stopped.").waitFor();
    await end();
  });

  it("gives another answer beside the first", async () => {
    const { page, end } = await open(browser, folder);
    await load(page);
    await ask(page, "Again?");
    await answered(page);
    await page.getByRole("button", { name: "Another answer" }).click();
    await answered(page);
    await page.getByRole("group", { name: "Answer 2 of 2" }).waitFor();
    await page.getByRole("button", { name: "Previous answer" }).click();
    await page.getByRole("group", { name: "Answer 1 of 2" }).waitFor();
    await counts(replies(page), 1);
    await end();
  });

  it("edits a question: what followed goes, and comes back", async () => {
    const { page, end } = await open(browser, folder);
    await load(page);
    for (const text of ["first", "second"]) {
      await ask(page, text);
      await answered(page);
    }
    await page.locator(".turn.user").first().hover();
    await page.getByRole("button", { name: "Edit", exact: true }).first().click();
    const box = page.getByRole("textbox", { name: "Edit your message" });
    await box.fill("changed");
    await box.press("Enter");
    assert.equal(await answered(page), "You said: changed");
    await counts(replies(page), 1);
    await page.getByRole("button", { name: "Undo" }).click();
    await until(async () => (await replies(page).count()) === 2, "the old turns");
    // The arrow key in an empty box opens the last question; Escape leaves it alone.
    await message(page).press("ArrowUp");
    assert.equal(await box.inputValue(), "second");
    await box.press("Escape");
    assert.equal(await page.evaluate(() => document.activeElement.id), "message");
    await end();
  });

  it("keeps conversations over a reload, renames, deletes and brings back", async () => {
    const { page, end } = await open(browser, folder);
    await load(page);
    await ask(page, "One");
    await answered(page);
    await page.getByRole("button", { name: "New chat" }).click();
    await ask(page, "Two");
    await answered(page);
    await page.reload();
    await ready(page); // the last model, from the browser's own storage
    const list = page.getByRole("navigation");
    await list.getByRole("button", { name: "One", exact: true }).click();
    await page.locator(".prose").getByText("You said: One").waitFor();
    await list.getByRole("button", { name: "Rename “One”" }).click();
    await page.getByRole("textbox", { name: "Title" }).fill("Uno");
    await page.keyboard.press("Enter");
    await list.getByRole("button", { name: "Delete “Uno”" }).click();
    await counts(list.getByRole("button", { name: "Uno", exact: true }), 0);
    await page.getByRole("button", { name: "Undo" }).click();
    await list.getByRole("button", { name: "Uno", exact: true }).waitFor();
    await page.locator(".prose").getByText("You said: One").waitFor();
    await end();
  });

  it("goes on writing in a conversation that is not shown", async () => {
    const { page, end } = await open(browser, folder);
    await load(page);
    await ask(page, "slow");
    await page.getByText("word3").waitFor();
    await page.getByRole("button", { name: "New chat" }).click();
    await page.getByRole("heading", { name: "What is on your mind?" }).waitFor();
    await page.getByRole("navigation").getByRole("button", { name: "slow", exact: true }).click();
    assert.ok((await answered(page)).endsWith("word399"));
    await end();
  });

  it("switches adapters while the model talks", async () => {
    const { page, end } = await open(browser, folder);
    await load(page);
    await ask(page, "slow");
    await page.getByText("word5").waitFor();
    await page.getByRole("button", { name: "neko", exact: true }).click();
    await page.getByText("(neko 1)").first().waitFor();
    await page.getByRole("slider", { name: "Strength of neko" }).fill("0.5");
    await page.getByText("(neko 0.5)").first().waitFor();
    await page.getByRole("button", { name: "neko", exact: true }).click();
    await until(async () => /\) word\d+ word\d+/.test(await page.locator(".prose").innerText()), "words without it again");
    await page.keyboard.press("Escape");
    const text = await answered(page);
    assert.match(text, /^word0 word1 /);
    await page.getByRole("button", { name: "Remove neko" }).click();
    await counts(page.getByRole("slider", { name: "Strength of neko" }), 0);
    await end();
  });

  it("takes a dropped adapter, and refuses one of another model", async () => {
    const { page, end } = await open(browser, folder);
    await load(page);
    await drop(page, ["mine.gguf", "GGUFgeneral.type\x08\0\0\0\x07\0\0\0\0\0\0\0adapter"]);
    const chip = page.getByRole("button", { name: "mine", exact: true });
    await until(async () => (await chip.getAttribute("aria-pressed")) === "true", "the adapter");
    await page.getByRole("button", { name: "other", exact: true }).click();
    await notice(page).getByText("other: this adapter was made for another model.").waitFor();
    await ask(page, "Still here?");
    assert.match(await answered(page), /^You \(mine 1\) said: \(mine 1\) Still/);
    await end();
  });

  it("shows each token, its probability and the others, and writes on from another", async () => {
    const { page, end } = await open(browser, folder);
    await load(page);
    await ask(page, "one two three");
    await answered(page);
    await page.getByRole("button", { name: "Tokens" }).click();
    const tokens = page.getByRole("listbox", { name: "The tokens of this answer" }).getByRole("option");
    await counts(tokens, 5);
    await tokens.first().focus();
    await page.keyboard.press("ArrowRight");
    assert.equal(await tokens.nth(1).getAttribute("aria-selected"), "true");
    assert.match(await tokens.nth(1).getAttribute("aria-label"), /said:, 57\.5%/);
    await page.keyboard.press("End");
    assert.equal(await tokens.nth(4).getAttribute("aria-selected"), "true");
    await page.keyboard.press("Home");
    await page.getByText("95.0%").waitFor();
    await page.getByRole("button", { name: /Continue from here with +other1/ }).click();
    await until(async () => (await tokens.count()) === 4, "the new answer");
    assert.match(await page.getByRole("listbox").innerText(), /^ other1and so on\./);
    await end();
  });

  it("sets Markdown, and never lets a model's text be HTML", async () => {
    const { page, end } = await open(browser, folder);
    await load(page);
    await ask(page, "markdown");
    await answered(page);
    const prose = page.locator(".prose");
    for (const [selector, text] of [
      ["h2", "Heading"],
      ["strong", "bold"],
      ["em", "italic"],
      ["del", "gone"],
      ["ol > li > ul > li", "nested"],
      ["blockquote", "quoted"],
      ["td.align-right", "2"],
      ["pre code", 'print("<b>hi</b>")'],
    ])
      assert.equal((await prose.locator(selector).first().innerText()).trim(), text, selector);
    const link = prose.getByRole("link", { name: "a link" });
    assert.equal(await link.getAttribute("rel"), "noopener noreferrer nofollow");
    assert.equal(await prose.getByRole("link", { name: "Not a link" }).count(), 0);
    assert.equal(await prose.locator("img").count(), 0, "a picture would be fetched from elsewhere");
    await prose.getByText("& <end>").waitFor();
    await ask(page, "html");
    const text = await answered(page);
    assert.match(text, /<script>window\.pwned = 1<\/script><img src=x onerror=.*<b>bold<\/b>/);
    assert.equal(await page.evaluate(() => window.pwned), undefined);
    assert.equal(await page.locator(".prose :is(script, img, b)").count(), 0);
    await ask(page, "think");
    await page.locator(".prose").getByText("The answer is 4.").waitFor();
    await page.getByText("Thoughts").waitFor();
    await end();
  });

  it("has a browser that refuses every way to make HTML of a string", async () => {
    const { page, end } = await open(browser, folder, { expected: [/TrustedHTML|TrustedScript|Content Security Policy|eval/i] });
    const refused = await page.evaluate(() => {
      const tries = {
        html: () => (document.createElement("div").innerHTML = "<b>x</b>"),
        worker: () => new Worker("https://example.org/x.js"),
        inline: () => {
          const script = document.createElement("script");
          script.text = "window.pwned = 1";
          document.head.append(script);
          if (!window.pwned) throw new TypeError("did not run");
        },
      };
      return Object.entries(tries).filter(([, run]) => {
        try {
          run();
          return false;
        } catch {
          return true;
        }
      });
    });
    assert.deepEqual(refused.map(([name]) => name), ["html", "worker", "inline"]);
    await end();
  });

  it("gives the system prompt and the sampling to the model", async () => {
    const { page, end } = await open(browser, folder);
    await load(page);
    await page.getByRole("banner").getByRole("button", { name: "Settings" }).click();
    await page.getByLabel("This conversation").fill("Be brief.");
    await page.getByLabel("Longest answer, in tokens").fill("16");
    await page.keyboard.press("Escape");
    await ask(page, "system?");
    assert.equal(await answered(page), "Be brief.");
    await ask(page, "slow");
    assert.ok((await answered(page)).endsWith("word15"));
    await page.getByText("The limit of tokens is reached.").waitFor();
    await end();
  });

  it("leaves out the oldest messages where all do not fit", async () => {
    const { page, end } = await open(browser, folder);
    await load(page);
    for (const word of ["a ", "b ", "c "]) {
      await ask(page, word.repeat(120));
      await answered(page);
    }
    await page.getByText("The 2 oldest messages did not fit and were left out.").waitFor();
    await ask(page, "z ".repeat(600));
    await page.getByText(/The prompt has 60\d tokens, the context 512\./).waitFor();
    await end();
  });

  it("measures, with the columns of pyedge bench", async () => {
    const { page, context, end } = await open(browser, folder);
    await context.grantPermissions(["clipboard-read", "clipboard-write"]);
    await load(page);
    await page.getByRole("banner").getByRole("button", { name: "Settings" }).click();
    await page.getByRole("button", { name: "Benchmark" }).click();
    await page.getByRole("button", { name: "Quick" }).click();
    await page.getByRole("cell", { name: "pp128" }).waitFor();
    await page.getByRole("cell", { name: "tg32" }).waitFor();
    await page.getByRole("button", { name: "Copy as JSON" }).click();
    const rows = JSON.parse(await page.evaluate(() => navigator.clipboard.readText()));
    assert.deepEqual(rows.map((row) => [row.n_prompt, row.n_gen, row.samples_ts.length]), [[128, 0, 2], [0, 32, 2]]);
    await end();
  });

  it("speaks Chinese and turns dark as the browser does, or as the visitor says", async () => {
    const { page, end } = await open(browser, folder, { visitor: { locale: "zh-CN", colorScheme: "dark" } });
    await page.getByRole("heading", { name: "语言模型，就在这个标签页里" }).waitFor();
    assert.equal(await page.evaluate(() => document.documentElement.lang), "zh-CN");
    const paper = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
    const dark = await paper();
    await page.getByRole("banner").getByRole("button", { name: "设置" }).click();
    await page.getByLabel("颜色").selectOption("light");
    assert.notEqual(await paper(), dark);
    await page.getByLabel("语言").selectOption("en");
    await page.getByRole("heading", { name: "Settings" }).waitFor();
    await page.reload();
    await page.getByRole("heading", { name: "A language model, in this tab" }).waitFor();
    assert.notEqual(await paper(), dark);
    await end();
  });
});

describe("what goes wrong on the chat page", { skip: executable ? false : "needs Chromium (PYEDGE_CHROMIUM)", concurrency: false }, () => {
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

  it("keeps the model that is there when another cannot be loaded", async () => {
    const { page, end } = await open(browser, folder);
    await load(page);
    await drop(page, ["notes.txt", "Dear diary, this is no model at all."]);
    await page.getByRole("alert").getByText("notes.txt: this is no model file (it does not begin with GGUF). Alpha is back.").waitFor();
    await ask(page, "Still here?");
    assert.equal(await answered(page), "You said: Still here?");
    await end();
  });

  it("gives a wrong address back, to be mended", async () => {
    const { page, host, end } = await open(browser, folder, { expected: [/Failed to load resource/] });
    const field = page.getByLabel("Address of a model file");
    await field.fill(`${host.url}missing.gguf`);
    await field.press("Enter");
    await page.getByRole("alert").waitFor();
    assert.equal(await field.inputValue(), `${host.url}missing.gguf`);
    await until(() => field.evaluate((input) => document.activeElement === input), "the focus in the field");
    await end();
  });

  it("refuses an address that it may not fetch, without asking for it", async () => {
    const { page, host, end } = await open(browser, folder);
    for (const text of ["not an address", "http://example.org/x.gguf", "javascript:alert(1)", "file:///etc/passwd"]) {
      await page.getByLabel("Address of a model file").fill(text);
      await page.getByRole("button", { name: "Load", exact: true }).click();
      await page.getByRole("alert").getByText("That is no address this page may fetch").waitFor();
    }
    const before = host.requests.length;
    await load(page);
    assert.ok(host.requests.length > before);
    await end();
  });

  it("tells of an answer that breaks off, and keeps what was written", async () => {
    const { page, end } = await open(browser, folder);
    await load(page);
    await ask(page, "please fail now or later");
    await page.getByText("No memory is left for the session.").waitFor();
    assert.equal(await answered(page), "You said: please");
    await ask(page, "And now?");
    assert.equal(await answered(page), "You said: And now?");
    await end();
  });

  it("offers to load again when the worker has ended", async () => {
    const { page, end } = await open(browser, folder);
    await load(page);
    await ask(page, "please crash now");
    await page.getByText("The worker ended.").waitFor();
    await page.getByRole("button", { name: "Choose a model" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Load Alpha" }).click();
    await ready(page);
    await ask(page, "And now?");
    assert.equal(await answered(page), "You said: And now?");
    await end();
  });

  it("works where the browser refuses storage, and says what that means", async () => {
    const init = () => {
      const refuse = () => {
        throw new DOMException("refused", "SecurityError");
      };
      IDBFactory.prototype.open = refuse;
      Storage.prototype.getItem = refuse;
      Storage.prototype.setItem = refuse;
      navigator.serviceWorker.register = () => Promise.reject(new DOMException("refused", "SecurityError"));
    };
    const { page, end } = await open(browser, folder, { init });
    await load(page);
    await ask(page, "Hello");
    await answered(page);
    await page.getByText("This browser refuses storage: conversations last until the tab is closed.").waitFor();
    await page.getByRole("button", { name: "New chat" }).click();
    await page.getByRole("navigation").getByRole("button", { name: "Hello", exact: true }).click();
    await page.locator(".prose").getByText("You said: Hello").waitFor();
    await end();
  });

  it("says that a second tab takes memory of its own, and shows what the first one wrote", async () => {
    const { page, context, host, end } = await open(browser, folder);
    await load(page);
    const second = await context.newPage();
    await second.goto(host.url);
    await ready(second);
    await second.getByText("A model is also loaded in another tab: each takes memory of its own.").waitFor();
    await ask(page, "From the first");
    await answered(page);
    await second.getByRole("navigation").getByRole("button", { name: "From the first", exact: true }).click();
    await second.locator(".prose").getByText("You said: From the first").waitFor();
    await end();
  });
});

describe("hosts of the chat page", { skip: executable ? false : "needs Chromium (PYEDGE_CHROMIUM)", concurrency: false }, () => {
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

  it("opens and answers without a network after the first visit", async () => {
    const { page, host, context, end } = await open(browser, folder, { expected: [/Failed to load resource/] });
    await load(page);
    await page.evaluate(() => navigator.serviceWorker.ready.then(() => undefined));
    await host.close();
    await context.setOffline(true);
    await page.reload();
    await ready(page);
    assert.equal(await page.evaluate(() => crossOriginIsolated), true);
    await ask(page, "Alone?");
    assert.equal(await answered(page), "You said: Alone?");
    await end();
  });

  it("runs in a folder of a host that sends no headers, and gets its threads all the same", async () => {
    const { page, end } = await open(browser, folder, { server: { base: "/some/folder/", headers: false } });
    await until(() => page.evaluate(() => crossOriginIsolated).catch(() => false), "isolation by the service worker");
    await load(page);
    await page.getByText("2 threads").waitFor();
    await page.reload();
    await ready(page);
    await end();
  });

  it("offers a newer version, and takes it when the visitor says so", async () => {
    const { page, host, end } = await open(browser, folder, {});
    await page.evaluate(() => navigator.serviceWorker.ready.then(() => undefined));
    await until(() => page.evaluate(() => navigator.serviceWorker.controller !== null), "control");
    const worker = await page.evaluate(() => fetch("./sw.js").then((answer) => answer.text()));
    host.files["sw.js"] = Buffer.from(worker.replace(/"[0-9a-f]{16}"/, '"0000000000000000"'));
    await page.reload();
    await page.evaluate(() => navigator.serviceWorker.getRegistration().then((registration) => registration.update()).then(() => undefined));
    await page.getByText("A newer version of this page is ready.").waitFor();
    const loaded = page.waitForEvent("load");
    await page.getByRole("button", { name: "Reload" }).click();
    await loaded;
    await page.locator("#message").waitFor();
    await end();
  });
});
