/** The message box with what belongs to it: adapters above, facts below. */
import { useComputed, useSignal, useSignalEffect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { current, live, send, stop } from "../chat";
import { engine, usage } from "../engine";
import { bytesText, numberText, t } from "../i18n";
import { editing, panel } from "../ui";
import { Adapters } from "./adapters";
import { Icon } from "./icons";

export function Composer() {
  const text = useSignal("");
  const box = useRef<HTMLTextAreaElement>(null);
  const answering = useComputed(() => live.value !== null);
  const phase = useComputed(() => engine.value.phase);
  const fit = () => {
    const area = box.current;
    if (!area) return;
    area.style.height = "auto";
    area.style.height = `${Math.min(area.scrollHeight, 240)}px`;
  };
  useEffect(fit, []);
  useSignalEffect(() => {
    void current.value.id;
    if (matchMedia("(pointer: fine)").matches && !panel.peek()) box.current?.focus();
  });
  const submit = () => {
    if (!text.value.trim() || answering.value) return;
    send(text.value);
    text.value = "";
    requestAnimationFrame(fit);
    if (phase.value === "none") panel.value = "model";
  };
  const keys = (event: KeyboardEvent) => {
    // While a word is put together with an input method, Enter belongs to that.
    if (event.isComposing || event.keyCode === 229) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      submit();
    } else if (event.key === "ArrowUp" && !text.value) {
      const last = current.value.turns.findLast((turn) => turn.role === "user");
      if (last && !answering.value) {
        event.preventDefault();
        editing.value = last.id;
      }
    }
  };
  const hint = phase.value === "ready" ? t("messageHint") : phase.value === "loading" ? t("messageWait") : t("messageNoModel");
  return (
    <div class="composer">
      <Adapters />
      <form
        class="box"
        onSubmit={(event) => {
          event.preventDefault();
          submit();
        }}
      >
        <textarea
          id="message"
          ref={box}
          rows={1}
          aria-label={t("message")}
          placeholder={hint}
          value={text.value}
          enterkeyhint="send"
          onInput={(event) => {
            text.value = event.currentTarget.value;
            fit();
          }}
          onKeyDown={keys}
        />
        {answering.value ? (
          <button type="button" class="round stop" onClick={stop} aria-label={t("stop")} title={`${t("stop")} (Esc)`}>
            <Icon name="stop" />
          </button>
        ) : (
          <button type="submit" class="round" disabled={!text.value.trim()} aria-label={t("send")} title={t("send")}>
            <Icon name="send" />
          </button>
        )}
      </form>
      <Facts />
    </div>
  );
}

function Facts() {
  const now = engine.value;
  const used = usage.value;
  return (
    <p class="facts">
      <span class="private">
        <Icon name="lock" /> {t("local")}
      </span>
      {now.phase === "ready" && used && (
        <span class="figures">
          <span>{t("contextUse", { position: numberText(used.position), capacity: numberText(used.capacity) })}</span>
          <span class="narrow">{bytesText(used.memoryBytes)}</span>
        </span>
      )}
    </p>
  );
}
