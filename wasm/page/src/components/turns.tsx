/** The conversation: questions, answers, and what can be done with each. */
import { useSignal } from "@preact/signals";
import { memo } from "preact/compat";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { continueFrom, current, edit, live, retry, send, showAnswer, type Live } from "../chat";
import { engine } from "../engine";
import { bytesText, language, numberText, t } from "../i18n";
import { Markdown } from "../markdown";
import { tokenView } from "../settings";
import type { Answer, AssistantTurn, UserTurn } from "../types";
import { editing, focusMessage } from "../ui";
import { splitThoughts } from "../thoughts";
import { CopyButton } from "./copy";
import { Icon } from "./icons";
import { TokenView } from "./tokens";

const NEAR_END = 80; // pixels: the reader follows the answer

export function Conversation() {
  const scroller = useRef<HTMLDivElement>(null);
  const follow = useRef(true);
  const away = useSignal(false);
  const { id, title, turns } = current.value;
  const bottom = () => scroller.current?.scrollTo({ top: scroller.current.scrollHeight });
  useLayoutEffect(() => {
    follow.current = true;
    bottom();
  }, [id, turns.length]);
  useLayoutEffect(() => {
    if (follow.current) bottom();
  }, [turns, tokenView.value]);
  const moved = () => {
    const area = scroller.current;
    if (!area) return;
    follow.current = area.scrollHeight - area.scrollTop - area.clientHeight < NEAR_END;
    away.value = !follow.current;
  };
  return (
    <div class="scroller" ref={scroller} onScroll={moved} tabIndex={-1}>
      <h1 class="sr-only">{title || t("untitled")}</h1>
      <ol class="turns" lang={language.value}>
        {turns.map((turn, at) =>
          turn.role === "user" ? (
            <Question key={turn.id} turn={turn} editing={editing.value === turn.id} busy={live.value !== null} />
          ) : (
            <Reply key={turn.id} turn={turn} live={live.value?.turn === turn.id ? live.value : null} busy={live.value !== null} last={at === turns.length - 1} tokens={tokenView.value} language={language.value} />
          ),
        )}
      </ol>
      {away.value && (
        <button
          type="button"
          class="latest"
          aria-label={t("latest")}
          title={t("latest")}
          onClick={() => {
            follow.current = true;
            bottom();
          }}
        >
          <Icon name="down" />
        </button>
      )}
    </div>
  );
}

export function Hello() {
  const now = engine.value;
  const facts = now.phase === "ready" ? now.model.info : null;
  return (
    <div class="hello">
      <h1>{t("hello")}</h1>
      {facts && <p class="faint about">{t("modelFacts", { params: numberText(facts.params / 1e6), arch: facts.arch, size: bytesText(facts.fileSize) })}</p>}
      {facts && !facts.hasChatTemplate && <p class="faint">{t("noTemplate")}</p>}
      <ul class="suggestions">
        {(["try1", "try2", "try3", "try4"] as const).map((word) => (
          <li key={word}>
            <button type="button" onClick={() => send(t(word))}>
              {t(word)}
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}

function Question({ turn, editing: open, busy }: { turn: UserTurn; editing: boolean; busy: boolean }) {
  return (
    <li class="turn user">
      <span class="sr-only">{t("you")}</span>
      {open ? (
        <Editor turn={turn} />
      ) : (
        <>
          <div class="bubble">{turn.text}</div>
          <div class="actions">
            <CopyButton text={turn.text} />
            <button type="button" class="quiet" disabled={busy} onClick={() => (editing.value = turn.id)} aria-label={t("edit")} title={t("edit")}>
              <Icon name="edit" />
            </button>
          </div>
        </>
      )}
    </li>
  );
}

function Editor({ turn }: { turn: UserTurn }) {
  const text = useSignal(turn.text);
  const area = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    const box = area.current;
    box?.focus();
    box?.setSelectionRange(box.value.length, box.value.length);
  }, []);
  const leave = () => {
    editing.value = null;
    focusMessage();
  };
  const save = () => {
    if (!text.value.trim()) return;
    leave();
    edit(turn.id, text.value);
  };
  return (
    <form
      class="editor"
      onSubmit={(event) => {
        event.preventDefault();
        save();
      }}
    >
      <textarea
        ref={area}
        aria-label={t("editMessage")}
        rows={Math.min(10, text.value.split("\n").length + 1)}
        value={text.value}
        onInput={(event) => (text.value = event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.isComposing || event.keyCode === 229) return;
          if (event.key === "Escape") {
            event.stopPropagation();
            leave();
          }
          if (event.key === "Enter" && !event.shiftKey) {
            event.preventDefault();
            save();
          }
        }}
      />
      <div class="row">
        <button type="button" onClick={leave}>
          {t("cancel")}
        </button>
        <button type="submit" class="primary" disabled={!text.value.trim()}>
          {t("saveEdit")}
        </button>
      </div>
    </form>
  );
}

interface ReplyProps {
  turn: AssistantTurn;
  live: Live | null;
  busy: boolean;
  last: boolean;
  tokens: boolean;
  language: string;
}

/** Drawn again only when its own answer changes: a long conversation stays quick. */
const Reply = memo(function Reply({ turn, live: writing, busy, last, tokens }: ReplyProps) {
  const answer = turn.answers[turn.shown];
  if (!answer) return null;
  const { thoughts, text, thinking } = splitThoughts(answer.text);
  const waiting = writing !== null && !answer.text;
  return (
    <li class="turn assistant" aria-busy={writing !== null}>
      <span class="sr-only">{answer.model || "pyedge"}</span>
      {waiting ? (
        <p class="waiting">
          <i class="pulse" />
          {t(writing.phase === "model" ? "waitingModel" : "readingPrompt")}
        </p>
      ) : tokens ? (
        <TokenView answer={answer} busy={busy} onContinue={(at, choice) => continueFrom(turn.id, at, choice)} />
      ) : (
        <>
          {thoughts && (
            <details class="thoughts" open={thinking && writing !== null}>
              <summary>{t("thoughts")}</summary>
              <Markdown text={thoughts} />
            </details>
          )}
          <div class={writing ? "writing" : ""}>
            <Markdown text={text} />
          </div>
        </>
      )}
      <Ending answer={answer} />
      {!writing && (
        <div class="actions">
          {turn.answers.length > 1 && <Versions turn={turn} />}
          <CopyButton text={answer.text} />
          <button type="button" class="quiet" disabled={busy} onClick={() => retry(turn.id)} aria-label={t("retry")} title={t("retry")}>
            <Icon name="retry" />
          </button>
          {last && (answer.finish === "length" || answer.finish === "cancelled") && answer.text && (
            <button type="button" class="quiet" disabled={busy} onClick={() => continueFrom(turn.id)} aria-label={t("continueAnswer")} title={t("continueAnswer")}>
              <Icon name="play" />
            </button>
          )}
          <button
            type="button"
            class="quiet"
            aria-pressed={tokens}
            onClick={() => (tokenView.value = !tokenView.value)}
            aria-label={t("tokens")}
            title={tokens ? t("tokensOff") : t("tokens")}
          >
            <Icon name="tokens" />
          </button>
          <Figures answer={answer} />
        </div>
      )}
    </li>
  );
});

function Versions({ turn }: { turn: AssistantTurn }) {
  const { shown, answers } = turn;
  return (
    <span class="versions" role="group" aria-label={t("answerCount", { shown: shown + 1, count: answers.length })}>
      <button type="button" class="quiet small" disabled={shown === 0} onClick={() => showAnswer(turn.id, shown - 1)} aria-label={t("previousAnswer")}>
        <Icon name="left" />
      </button>
      <span aria-hidden="true">
        {shown + 1}/{answers.length}
      </span>
      <button type="button" class="quiet small" disabled={shown === answers.length - 1} onClick={() => showAnswer(turn.id, shown + 1)} aria-label={t("nextAnswer")}>
        <Icon name="right" />
      </button>
    </span>
  );
}

function Ending({ answer }: { answer: Answer }) {
  return (
    <>
      {answer.finish === "error" && (
        <p class="problem" role="alert">
          {answer.error}
        </p>
      )}
      {answer.finish === "cancelled" && <p class="ending">{t("stopped")}</p>}
      {answer.finish === "length" && <p class="ending">{t("lengthReached")}</p>}
      {answer.leftOut !== undefined && <p class="ending">{t("leftOut", { count: answer.leftOut })}</p>}
    </>
  );
}

function Figures({ answer }: { answer: Answer }) {
  const figures = [
    answer.speed === undefined ? "" : t("speed", { speed: numberText(answer.speed, answer.speed < 10 ? 1 : 0) }),
    answer.firstMs === undefined ? "" : t("first", { seconds: numberText(answer.firstMs / 1000, 2) }),
    ...Object.entries(answer.adapters).map(([name, scale]) => (scale === 1 ? name : `${name} ${numberText(scale, 2)}`)),
  ].filter(Boolean);
  return figures.length ? <span class="figures">{figures.join(" · ")}</span> : null;
}
