import { useComputed, useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { announcement, current, live, newConversation, stop } from "../chat";
import { addAdapter, engine, features, giveUpLoading, usage } from "../engine";
import { asMarkdown, save } from "../export";
import { isAdapter } from "../filekind";
import { bytesText, t } from "../i18n";
import { notice, tellError } from "../notices";
import { tokenView } from "../settings";
import { focusMessage, panel, sidebar, toggleSidebar } from "../ui";
import { Bench } from "./bench";
import { Chooser, choose, Loading, originOfFiles } from "./chooser";
import { Composer } from "./composer";
import { Dialog } from "./dialog";
import { Icon } from "./icons";
import { Keys } from "./keys";
import { Settings } from "./settings";
import { Sidebar } from "./sidebar";
import { Conversation, Hello } from "./turns";

export function App() {
  const over = useDrop();
  useKeys();
  const empty = useComputed(() => current.value.turns.length === 0);
  const phase = useComputed(() => engine.value.phase);
  return (
    <>
      <a
        class="skip"
        href="#message"
        onClick={(event) => {
          event.preventDefault();
          focusMessage();
        }}
      >
        {t("skip")}
      </a>
      <div class={`app ${sidebar.value ? "with-sidebar" : ""}`}>
        <Sidebar />
        <div class="main">
          <Header />
          <NoticeBar />
          <main class={empty.value ? "is-empty" : ""}>
            {!empty.value ? <Conversation /> : <div class="scroller">{phase.value === "none" ? <Welcome /> : <Hello />}</div>}
          </main>
          <footer>
            <Loading />
            <Composer />
          </footer>
        </div>
      </div>
      {panel.value === "model" && (
        <Dialog name="model" title={t("chooseModel")}>
          <Chooser />
        </Dialog>
      )}
      {panel.value === "settings" && <Settings />}
      {panel.value === "bench" && <Bench />}
      {panel.value === "keys" && <Keys />}
      {over.value && (
        <div class="dropping" aria-hidden="true">
          <span>{t("dropNow")}</span>
        </div>
      )}
      <div class="sr-only" aria-live="polite">
        {announcement.value}
      </div>
    </>
  );
}

function Header() {
  const now = engine.value;
  const name = now.phase === "none" ? t("chooseModel") : now.origin.name;
  return (
    <header class="top">
      {!sidebar.value && (
        <button type="button" class="quiet" onClick={() => toggleSidebar(true)} aria-label={t("openConversations")} title={t("openConversations")}>
          <Icon name="menu" />
        </button>
      )}
      <button
        type="button"
        class={`pill ${now.phase}`}
        aria-haspopup="dialog"
        aria-label={now.phase === "none" ? t("chooseModel") : t("changeModel", { name })}
        onClick={() => (panel.value = "model")}
      >
        <i class="state" />
        <span>{name}</span>
      </button>
      {now.phase === "ready" && <Figures />}
      <span class="space" />
      {current.value.turns.length > 0 && (
        <button type="button" class="quiet" onClick={() => save(current.value.title || "pyedge", asMarkdown(current.value))} aria-label={t("export")} title={t("export")}>
          <Icon name="save" />
        </button>
      )}
      {!sidebar.value && (
        <button
          type="button"
          class="quiet"
          onClick={() => {
            newConversation();
            focusMessage();
          }}
          aria-label={t("newChat")}
          title={t("newChat")}
        >
          <Icon name="plus" />
        </button>
      )}
      <button type="button" class="quiet" onClick={() => (panel.value = "settings")} aria-label={t("settings")} title={t("settings")} aria-haspopup="dialog">
        <Icon name="gear" />
      </button>
    </header>
  );
}

function Figures() {
  const now = engine.value;
  const used = usage.value;
  if (now.phase !== "ready" || !used) return null;
  const { threads } = now.model.info;
  return (
    <span class="figures top-figures" title={features.reason}>
      <span>{t("memory", { memory: bytesText(used.memoryBytes) })}</span>
      <span>{threads === 1 ? t("threadsOne") : t("threadsMany", { count: threads })}</span>
    </span>
  );
}

function Welcome() {
  return (
    <div class="welcome">
      <h1>{t("welcome")}</h1>
      <p class="lead">{t("welcomeText")}</p>
      <Chooser />
    </div>
  );
}

function NoticeBar() {
  const now = notice.value;
  return (
    <div class="notice-place" aria-live={now?.kind === "error" ? "assertive" : "polite"}>
      {now && (
        <div class={`notice ${now.kind}`} role={now.kind === "error" ? "alert" : "status"}>
          <p>
            {now.text}
            {now.detail && <small lang="en">{now.detail}</small>}
          </p>
          {now.action && (
            <button
              type="button"
              onClick={() => {
                const { run } = now.action!;
                notice.value = null;
                run();
              }}
            >
              {now.action.label}
            </button>
          )}
          <button type="button" class="quiet small" onClick={() => (notice.value = null)} aria-label={t("close")} title={t("close")}>
            <Icon name="close" />
          </button>
        </div>
      )}
    </div>
  );
}

/** A model or an adapter may be dropped anywhere. */
function useDrop() {
  const over = useSignal(false);
  useEffect(() => {
    let depth = 0;
    const holdsFiles = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
    const listeners: Partial<Record<"dragenter" | "dragleave" | "dragover" | "drop", (event: DragEvent) => void>> = {
      dragenter: (event) => {
        if (holdsFiles(event) && ++depth === 1) over.value = true;
      },
      dragleave: (event) => {
        if (holdsFiles(event) && --depth <= 0) over.value = false;
      },
      dragover: (event) => {
        if (holdsFiles(event)) event.preventDefault();
      },
      drop: (event) => {
        if (!holdsFiles(event)) return;
        event.preventDefault();
        depth = 0;
        over.value = false;
        void dropped([...(event.dataTransfer?.files ?? [])]).catch(tellError);
      },
    };
    const entries = Object.entries(listeners) as [string, EventListener][];
    for (const [name, listener] of entries) addEventListener(name, listener);
    return () => entries.forEach(([name, listener]) => removeEventListener(name, listener));
  }, []);
  return over;
}

async function dropped(files: File[]): Promise<void> {
  if (!files.length) return;
  if (await isAdapter(files)) await addAdapter(files);
  else await choose(originOfFiles(files));
}

function useKeys() {
  useEffect(() => {
    const keys = (event: KeyboardEvent) => {
      if (event.defaultPrevented || event.isComposing || event.ctrlKey || event.metaKey) return;
      if (event.altKey) {
        if (event.code === "KeyN") newConversation(), focusMessage();
        else if (event.code === "KeyT") tokenView.value = !tokenView.value;
        else return;
        event.preventDefault();
        return;
      }
      if (event.key === "Escape" && !panel.value) {
        if (live.value) stop();
        else if (engine.value.phase === "loading") giveUpLoading();
        else notice.value = null;
        return;
      }
      const typing = event.target instanceof HTMLElement && /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
      if (typing || panel.value) return;
      if (event.key === "/") {
        event.preventDefault();
        focusMessage();
      } else if (event.key === "?") panel.value = "keys";
    };
    addEventListener("keydown", keys);
    return () => removeEventListener("keydown", keys);
  }, []);
}
