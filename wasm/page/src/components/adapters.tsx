/** Adapters as chips: switched on and off while the model talks, with a strength. */
import { useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import { fetchable } from "../address";
import { adapters, adaptersBusy, addAdapter, catalogue, engine, removeAdapter, setAdapter } from "../engine";
import { numberText, t } from "../i18n";
import type { Adapter } from "../types";
import { Icon } from "./icons";

export function Adapters() {
  const adding = useSignal(false);
  if (engine.value.phase !== "ready") return null;
  const loaded = new Set(adapters.value.map((entry) => entry.name));
  const offered = (catalogue.value.adapters ?? []).filter((entry) => !loaded.has(entry.name));
  return (
    <div class="chips" role="group" aria-label={t("adapters")}>
      {adapters.value.map((entry) => (
        <Chip key={entry.name} entry={entry} />
      ))}
      {offered.map((entry) => (
        <button
          type="button"
          class="chip offer"
          aria-pressed="false"
          aria-busy={adaptersBusy.value.has(entry.name)}
          disabled={adaptersBusy.value.has(entry.name)}
          onClick={() => void addAdapter(entry.url, entry.name, entry.scale)}
        >
          <i class="switch" />
          {entry.name}
        </button>
      ))}
      <button
        type="button"
        class="chip add"
        aria-expanded={adding.value}
        title={t("adapterFile")}
        onClick={() => (adding.value = !adding.value)}
      >
        <Icon name="plus" />
        {adapters.value.length || offered.length ? <span class="sr-only">{t("addAdapter")}</span> : t("addAdapter")}
      </button>
      {adding.value && <Add done={() => (adding.value = false)} />}
    </div>
  );
}

function Chip({ entry }: { entry: Adapter }) {
  const { name, on, scale } = entry;
  const set = (value: string) => void setAdapter(name, { scale: Number(value) });
  return (
    <span class={`chip ${on ? "on" : ""}`} aria-busy={adaptersBusy.value.has(name)}>
      <button type="button" class="toggle" aria-pressed={on} onClick={() => void setAdapter(name, { on: !on })}>
        <i class="switch" />
        {name}
      </button>
      {on && (
        <label class="scale">
          <span class="sr-only">{t("adapterScale", { name })}</span>
          <input type="range" min={0} max={2} step={0.05} value={scale} onInput={(event) => set(event.currentTarget.value)} />
          <output>{numberText(scale, 2)}</output>
        </label>
      )}
      <button type="button" class="quiet small" aria-label={t("removeAdapter", { name })} title={t("removeAdapter", { name })} onClick={() => void removeAdapter(name)}>
        <Icon name="close" />
      </button>
    </span>
  );
}

function Add({ done }: { done: () => void }) {
  const input = useRef<HTMLInputElement>(null);
  const address = useSignal("");
  const wrong = useSignal(false);
  return (
    <form
      class="adapter-add"
      onSubmit={(event) => {
        event.preventDefault();
        const url = fetchable(address.value);
        wrong.value = url === null;
        if (!url) return;
        done();
        void addAdapter(url);
      }}
      onKeyDown={(event) => {
        if (event.key !== "Escape") return;
        event.stopPropagation();
        done();
      }}
    >
      <button type="button" onClick={() => input.current?.click()} title={t("adapterFile")}>
        <Icon name="file" /> {t("browse")}
      </button>
      <input
        ref={input}
        id="adapter-file"
        class="hidden"
        type="file"
        multiple
        tabIndex={-1}
        aria-hidden="true"
        onChange={(event) => {
          const files = [...(event.currentTarget.files ?? [])];
          if (!files.length) return;
          done();
          void addAdapter(files);
        }}
      />
      <input
        type="text"
        inputMode="url"
        autocomplete="off"
        spellcheck={false}
        aria-label={t("adapterAddress")}
        placeholder={t("adapterAddress")}
        aria-invalid={wrong.value}
        value={address.value}
        onInput={(event) => {
          address.value = event.currentTarget.value;
          wrong.value = false;
        }}
      />
      <button type="submit" disabled={!address.value.trim()}>
        {t("adapterAdd")}
      </button>
      {wrong.value && (
        <p class="problem" role="alert">
          {t("badAddress")}
        </p>
      )}
    </form>
  );
}
