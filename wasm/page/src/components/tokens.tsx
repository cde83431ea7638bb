/** An answer token by token: how sure the model was, and what else it could have said. */
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useRef } from "preact/hooks";
import { percentText, t } from "../i18n";
import type { Answer, Choice } from "../types";

/** White space by name, so that it can be seen and spoken. */
export function visible(text: string): string {
  if (text === "") return t("bytesOnly");
  if (/^\n+$/.test(text)) return `⏎${text.length > 1 ? text.length : ""}`;
  if (/^ +$/.test(text)) return t("space");
  return text.replaceAll("\n", "⏎");
}

/** As it stands in the text, line ends drawn and broken after. */
function shown(text: string): ComponentChildren {
  if (!text) return "·";
  return text.split("\n").map((line, at) => (
    <>
      {at > 0 && (
        <>
          ⏎<br />
        </>
      )}
      {line}
    </>
  ));
}

/** 0 (sure) to 9 (a surprise), by the logarithm of the probability. */
function surprise(probability: number): number {
  return Math.max(0, Math.min(9, Math.floor(-Math.log2(Math.max(probability, 1e-9)) * 1.6)));
}

interface Props {
  answer: Answer;
  busy: boolean;
  onContinue: (at: number, choice: Choice) => void;
}

export function TokenView({ answer, busy, onContinue }: Props) {
  const chosen = useSignal<number | null>(null);
  const list = useRef<HTMLDivElement>(null);
  if (!answer.tokens.length)
    return (
      <>
        <p class="plain">{answer.text}</p>
        <p class="ending">{t("tokensNone")}</p>
      </>
    );
  const at = chosen.value === null ? null : Math.min(chosen.value, answer.tokens.length - 1);
  const go = (to: number) => {
    const next = Math.max(0, Math.min(answer.tokens.length - 1, to));
    chosen.value = next;
    list.current?.querySelectorAll<HTMLElement>("[role=option]")[next]?.focus();
  };
  const keys = (event: KeyboardEvent) => {
    const steps: Record<string, number> = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 10, ArrowUp: -10 };
    const now = at ?? 0;
    const step = steps[event.key];
    if (step !== undefined) go(now + step);
    else if (event.key === "Home") go(0);
    else if (event.key === "End") go(answer.tokens.length - 1);
    else return;
    event.preventDefault();
  };
  const token = at === null ? undefined : answer.tokens[at];
  return (
    <div class="token-view">
      <div class="tokens" role="listbox" aria-orientation="horizontal" aria-label={t("tokensTitle")} ref={list} onKeyDown={keys}>
        {answer.tokens.map((entry, index) => (
          <span
            role="option"
            key={index}
            tabIndex={index === (at ?? 0) ? 0 : -1}
            aria-selected={index === at}
            aria-label={t("tokenLabel", { token: visible(entry.text), probability: percentText(entry.probability) })}
            class={`token s${surprise(entry.probability)}`}
            onClick={() => (chosen.value = index)}
            onFocus={() => (chosen.value = index)}
          >
            {shown(entry.text)}
          </span>
        ))}
      </div>
      {token && at !== null ? (
        <Choices token={token} busy={busy} onContinue={(choice) => onContinue(at, choice)} />
      ) : (
        <p class="ending">{t("tokensHelp")}</p>
      )}
    </div>
  );
}

function Choices({ token, busy, onContinue }: { token: Answer["tokens"][number]; busy: boolean; onContinue: (choice: Choice) => void }) {
  const own: Choice = [token.id, token.text, token.probability];
  const list = token.top.some(([id]) => id === token.id) ? token.top : [...token.top, own];
  const rest = 1 - list.reduce((sum, [, , probability]) => sum + probability, 0);
  return (
    <ul class="choices" aria-live="polite">
      {list.map((choice) => {
        const [id, text, probability] = choice;
        const taken = id === token.id;
        // A piece of a character cannot be written on from as text.
        const possible = !taken && !busy && text !== "" && !text.includes("\ufffd");
        const line = (
          <>
            <code>{visible(text)}</code>
            <Bar probability={probability} />
            <span class="number">{percentText(probability)}</span>
          </>
        );
        return (
          <li key={id} class={taken ? "taken" : ""}>
            {possible ? (
              <button type="button" onClick={() => onContinue(choice)} title={`${t("tokenContinue")} ${visible(text)}`}>
                <span class="sr-only">{t("tokenContinue")} </span>
                {line}
              </button>
            ) : (
              <span class="line">
                {line}
                {taken && <span class="sr-only">{t("tokenChosen")}</span>}
              </span>
            )}
          </li>
        );
      })}
      {rest > 0.0005 && (
        <li class="rest">
          <span class="line">
            <span>{t("tokenOther")}</span>
            <Bar probability={rest} />
            <span class="number">{percentText(rest)}</span>
          </span>
        </li>
      )}
    </ul>
  );
}

function Bar({ probability }: { probability: number }) {
  return (
    <span class="bar" aria-hidden="true">
      <i style={{ width: `${(100 * Math.min(1, probability)).toFixed(1)}%` }} />
    </span>
  );
}
