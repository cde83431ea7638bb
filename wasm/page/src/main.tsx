import { effect } from "@preact/signals";
import { render } from "preact";
import { readConversations, stop } from "./chat";
import { App } from "./components/app";
import { engine, load, modelToBeginWith, readCatalogue, refreshKept } from "./engine";
import { language, locale } from "./i18n";
import { tellError } from "./notices";
import { registerWorker } from "./pwa";
import "./trusted";
import "./styles/base.css";
import "./styles/frame.css";
import "./styles/talk.css";
import "./styles/panels.css";

effect(() => {
  document.documentElement.lang = locale.value;
  void language.value;
});

// Nothing is lost silently: what no one caught is a sentence on the page.
addEventListener("unhandledrejection", (event) => tellError(event.reason));

// What was answered until then is kept.
addEventListener("pagehide", ({ persisted }) => {
  if (!persisted) stop();
});

const root = document.getElementById("app");
if (root) {
  root.textContent = "";
  render(<App />, root);
}

void registerWorker();
void readConversations();
void Promise.all([readCatalogue(), refreshKept()]).then(() => {
  const first = modelToBeginWith();
  if (first && engine.value.phase === "none") void load(first);
});
