/** Choosing a model: dropped or browsed files, the list, an address; and the progress of loading. */
import { signal, useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import { fetchable, nameOf } from "../address";
import { addressesOf, catalogue, engine, features, forget, giveUpLoading, isKept, keptBeside, load, originOf } from "../engine";
import { bytesText, localised, t, type Word } from "../i18n";
import { tellError } from "../notices";
import type { CatalogueModel, ModelOrigin } from "../types";
import { focusMessage, panel } from "../ui";
import { Icon } from "./icons";

/** Loads, and goes to the message box when there is something to talk to. */
export async function choose(origin: ModelOrigin): Promise<boolean> {
  const done = load(origin);
  panel.value = null;
  focusMessage();
  return done;
}

/** What stands in the field for an address: kept while the field is not there, so that a wrong one can be mended. */
const address = signal("");

async function chooseAddress(origin: ModelOrigin): Promise<void> {
  const typed = address.value;
  const done = await choose(origin);
  if (address.value !== typed) return;
  if (done) {
    address.value = "";
    return;
  }
  await new Promise((drawn) => setTimeout(drawn, 100));
  if (!document.querySelector<HTMLTextAreaElement>("#message")?.value) document.getElementById("model-address")?.focus();
}

export function originOfFiles(files: File[]): ModelOrigin {
  const parts = [...files].sort((a, b) => a.name.localeCompare(b.name));
  return { name: nameOf(parts[0]?.name ?? ""), source: parts, bytes: parts.reduce((sum, part) => sum + part.size, 0) };
}

export function Chooser() {
  const input = useRef<HTMLInputElement>(null);
  const wrong = useSignal(false);
  const known = catalogue.value.models;
  const models = [...known, ...keptBeside(known)];
  const nearest = (model: CatalogueModel) => (isKept(model) ? 0 : model.local ? 1 : 2);
  models.sort((a, b) => nearest(a) - nearest(b));
  const fetchAddress = (event: Event) => {
    event.preventDefault();
    const url = fetchable(address.value);
    wrong.value = url === null;
    if (!url) return;
    const parts = addressesOf(url);
    void chooseAddress({ name: nameOf(url), source: parts.length > 1 ? parts : url });
  };
  return (
    <div class="chooser">
      {!features.usable && (
        <p class="problem" role="alert">
          {features.reason}
        </p>
      )}
      <ul class="models">
        {models.map((model) => (
          <Row key={String(model.url)} model={model} />
        ))}
      </ul>
      <button type="button" class="drop" onClick={() => input.current?.click()} disabled={!features.usable}>
        <Icon name="file" />
        <span>
          <b>{t(matchMedia("(hover: none)").matches ? "pickTitle" : "dropTitle")}</b>
          <span class="faint">{t("dropText")}</span>
        </span>
        <span class="button">{t("browse")}</span>
      </button>
      <input
        ref={input}
        class="hidden"
        type="file"
        multiple
        tabIndex={-1}
        aria-hidden="true"
        id="model-file"
        onChange={(event) => {
          const files = [...(event.currentTarget.files ?? [])];
          event.currentTarget.value = "";
          if (files.length) void choose(originOfFiles(files)).catch(tellError);
        }}
      />
      <form class="address" onSubmit={fetchAddress}>
        <label>
          <span class="faint">{t("address")}</span>
          <input
            type="text"
            inputMode="url"
            autocomplete="off"
            spellcheck={false}
            placeholder={t("addressHint")}
            id="model-address"
            value={address.value}
            aria-invalid={wrong.value}
            aria-describedby={wrong.value ? "address-wrong" : undefined}
            onInput={(event) => {
              address.value = event.currentTarget.value;
              wrong.value = false;
            }}
          />
        </label>
        <button type="submit" disabled={!features.usable || !address.value.trim()}>
          {t("load")}
        </button>
      </form>
      {wrong.value && (
        <p class="problem" role="alert" id="address-wrong">
          {t("badAddress")}
        </p>
      )}
    </div>
  );
}

function Row({ model }: { model: CatalogueModel }) {
  const stored = isKept(model);
  const now = engine.value;
  const loaded = now.phase === "ready" && String(now.origin.source) === String(model.url);
  const place = stored ? t("keptHere") : model.local ? t("here") : t("download");
  const facts = [model.bytes ? bytesText(model.bytes) : "", place, model.licence ?? ""].filter(Boolean);
  return (
    <li>
      <button type="button" class="model" disabled={!features.usable || loaded} onClick={() => void choose(originOf(model))}>
        <span class={`badge ${stored || model.local ? "near" : ""}`}>
          <Icon name={loaded ? "check" : stored || model.local ? "model" : "save"} />
        </span>
        <span class="model-text">
          <b>
            <span class="sr-only">{t("load")} </span>
            {model.name}
          </b>
          {model.about && <span>{localised(model.about)}</span>}
          <span class="faint">{facts.join(" · ")}</span>
        </span>
      </button>
      {stored && (
        <button
          type="button"
          class="quiet"
          aria-label={t("forgetNamed", { name: model.name })}
          title={t("forget")}
          onClick={() => void forget(model)}
        >
          <Icon name="trash" />
        </button>
      )}
    </li>
  );
}

const phases: Record<string, Word> = { fetch: "phaseFetch", cache: "phaseCache", read: "phaseRead", open: "phaseOpen" };

/** How far loading has come, with a way out. */
export function Loading() {
  const now = engine.value;
  if (now.phase !== "loading") return null;
  const { origin, progress } = now;
  const total = progress?.total ?? origin.bytes ?? null;
  const loaded = progress?.loaded ?? 0;
  const phase = t(progress ? (phases[progress.phase] ?? "phaseStart") : "phaseStart");
  const amounts = total ? t("ofTotal", { loaded: bytesText(Math.min(loaded, total)), total: bytesText(total) }) : loaded ? bytesText(loaded) : "";
  const known = total !== null && progress !== null && progress.phase !== "open";
  return (
    <section class="loading" aria-label={t("loadingModel", { name: origin.name })}>
      <div class="loading-text">
        <b>{origin.name}</b>
        <span class="faint">
          {phase}
          {amounts && progress?.phase !== "open" ? ` · ${amounts}` : ""}
        </span>
      </div>
      <button type="button" onClick={giveUpLoading} aria-label={t("giveUp")}>
        {t("cancel")}
      </button>
      <progress aria-label={phase} {...(known ? { value: Math.min(loaded, total), max: total } : {})} />
      <span class="sr-only" role="status">
        {t("loadingModel", { name: origin.name })}
      </span>
    </section>
  );
}
