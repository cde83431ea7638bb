import { current, setSystem } from "../chat";
import { closeModel, engine, features } from "../engine";
import { bytesText, chooseLanguage, languageChoice, numberText, t, type Language, type Word } from "../i18n";
import { defaultSampling, recordTokens, sampling, systemPrompt, theme, threads, tokenView, type Sampling, type Theme } from "../settings";
import { panel } from "../ui";
import { Dialog } from "./dialog";

export function Settings() {
  const changed = Object.entries(defaultSampling).some(([key, value]) => sampling.value[key as keyof Sampling] !== value);
  return (
    <Dialog name="settings" title={t("settings")} side>
      <section>
        <h3>{t("system")}</h3>
        <label class="field">
          <span>{t("systemHere")}</span>
          <textarea rows={3} placeholder={t("systemHint")} value={current.value.system} onInput={(event) => setSystem(event.currentTarget.value)} />
        </label>
        <label class="field">
          <span>{t("systemDefault")}</span>
          <textarea
            rows={2}
            placeholder={t("systemHint")}
            value={systemPrompt.value}
            onInput={(event) => {
              systemPrompt.value = event.currentTarget.value;
              if (!current.value.turns.length) setSystem(systemPrompt.value);
            }}
          />
        </label>
      </section>
      <section>
        <h3>{t("sampling")}</h3>
        <Slider name="temperature" min={0} max={2} step={0.05} digits={2} />
        <Slider name="topK" min={0} max={200} step={1} digits={0} />
        <Slider name="topP" min={0.05} max={1} step={0.01} digits={2} />
        <Slider name="minP" min={0} max={0.5} step={0.01} digits={2} />
        <Slider name="repeatPenalty" min={1} max={2} step={0.01} digits={2} />
        <Slider name="maxTokens" min={16} max={4096} step={16} digits={0} />
        <label class="field short">
          <span>{t("seed")}</span>
          <input
            type="text"
            inputMode="numeric"
            pattern="[0-9]*"
            placeholder={t("seedRandom")}
            value={sampling.value.seed}
            aria-describedby="seed-help"
            onInput={(event) => (sampling.value = { ...sampling.value, seed: event.currentTarget.value.replace(/\D/g, "") })}
          />
          <small id="seed-help">{t("seedHelp")}</small>
        </label>
        <button type="button" disabled={!changed} onClick={() => (sampling.value = { ...defaultSampling })}>
          {t("reset")}
        </button>
      </section>
      <section>
        <h3>{t("look")}</h3>
        <label class="field short">
          <span>{t("theme")}</span>
          <select value={theme.value} onChange={(event) => (theme.value = event.currentTarget.value as Theme)}>
            <option value="auto">{t("themeAuto")}</option>
            <option value="light">{t("themeLight")}</option>
            <option value="dark">{t("themeDark")}</option>
          </select>
        </label>
        <label class="field short">
          <span>{t("language")}</span>
          <select value={languageChoice.value} onChange={(event) => chooseLanguage(event.currentTarget.value as Language | "auto")}>
            <option value="auto">{t("languageAuto")}</option>
            <option value="en" lang="en">
              English
            </option>
            <option value="zh" lang="zh">
              中文
            </option>
          </select>
        </label>
        <label class="check-field">
          <input type="checkbox" checked={tokenView.value} onChange={(event) => (tokenView.value = event.currentTarget.checked)} />
          {t("showTokens")}
        </label>
        <label class="check-field">
          <input type="checkbox" checked={recordTokens.value} onChange={(event) => (recordTokens.value = event.currentTarget.checked)} />
          {t("record")}
        </label>
      </section>
      <section>
        <h3>{t("engine")}</h3>
        <ModelFacts />
        <label class="field short">
          <span>{t("threads")}</span>
          <input
            type="number"
            min={0}
            max={32}
            value={threads.value}
            disabled={!features.threads}
            aria-describedby="threads-help"
            onInput={(event) => (threads.value = Math.max(0, Math.min(32, Math.floor(Number(event.currentTarget.value) || 0))))}
          />
          <small id="threads-help">{features.threads ? t("threadsHelp") : t("noThreads")}</small>
        </label>
        <div class="row">
          <button type="button" onClick={() => (panel.value = "bench")}>
            {t("bench")}
          </button>
          <button type="button" disabled={engine.value.phase !== "ready"} onClick={() => void closeModel()}>
            {t("unload")}
          </button>
        </div>
      </section>
    </Dialog>
  );
}

function ModelFacts() {
  const now = engine.value;
  if (now.phase !== "ready") return null;
  const { info } = now.model;
  return (
    <p class="faint">
      {now.origin.name}: {t("modelFacts", { params: numberText(info.params / 1e6), arch: info.arch, size: bytesText(info.fileSize) })}
      <br />
      {info.module} · {info.threads === 1 ? t("threadsOne") : t("threadsMany", { count: info.threads })}
      <br />
      {features.reason}
    </p>
  );
}

type Number = Exclude<keyof Sampling, "seed">;

function Slider({ name, min, max, step, digits }: { name: Number; min: number; max: number; step: number; digits: number }) {
  const value = sampling.value[name];
  const help: Partial<Record<Number, Word>> = {
    temperature: "temperatureHelp",
    topK: "topKHelp",
    topP: "topPHelp",
    minP: "minPHelp",
    repeatPenalty: "repeatPenaltyHelp",
  };
  const helpWord = help[name];
  return (
    <div class="field slider">
      <label for={`set-${name}`}>{t(name)}</label>
      <output for={`set-${name}`}>{numberText(value, digits)}</output>
      <input
        id={`set-${name}`}
        type="range"
        min={min}
        max={max}
        step={step}
        value={value}
        aria-describedby={helpWord ? `${name}-help` : undefined}
        onInput={(event) => (sampling.value = { ...sampling.value, [name]: Number(event.currentTarget.value) })}
      />
      {helpWord && <small id={`${name}-help`}>{t(helpWord)}</small>}
    </div>
  );
}
