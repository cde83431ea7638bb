/** The tests of `pyedge bench` with the loaded model. */
import { signal } from "@preact/signals";
import type { BenchRow } from "pyedge";
import { live } from "../chat";
import { engine, refreshUsage } from "../engine";
import { numberText, t } from "../i18n";
import { notice, sentence, tell } from "../notices";
import { CopyButton } from "./copy";
import { Dialog } from "./dialog";

const rows = signal<BenchRow[]>([]);
const running = signal<AbortController | null>(null);

const plans = {
  quick: { prompt: [128], generate: [32], repetitions: 2 },
  full: { prompt: [512], generate: [128], repetitions: 5 },
};

async function run(plan: keyof typeof plans): Promise<void> {
  const now = engine.value;
  if (now.phase !== "ready" || live.value) return;
  const stop = new AbortController();
  running.value = stop;
  rows.value = [];
  try {
    const onRow = (row: BenchRow) => void (rows.value = [...rows.value, row]);
    rows.value = await now.model.bench({ ...plans[plan], onRow, signal: stop.signal });
  } catch (error) {
    if (stop.signal.aborted) tell(t("benchStopped"));
    else notice.value = { kind: "error", ...sentence(error) };
  } finally {
    running.value = null;
    void refreshUsage();
  }
}

/** The name that llama-bench gives the test. */
export function label(row: BenchRow): string {
  const test = row.n_prompt ? `pp${row.n_prompt}` : `tg${row.n_gen}`;
  return row.n_depth ? `${test} @ d${row.n_depth}` : test;
}

export function Bench() {
  const ready = engine.value.phase === "ready";
  const first = rows.value[0];
  return (
    <Dialog name="bench" title={t("bench")}>
      <p>{t("benchText")}</p>
      {!ready && <p class="problem">{t("benchNeedsModel")}</p>}
      <div class="row">
        {running.value ? (
          <button type="button" onClick={() => running.value?.abort()}>
            {t("benchStop")}
          </button>
        ) : (
          <>
            <button type="button" class="primary" disabled={!ready || live.value !== null} onClick={() => void run("quick")}>
              {t("benchQuick")}
            </button>
            <button type="button" disabled={!ready || live.value !== null} onClick={() => void run("full")}>
              {t("benchFull")}
            </button>
          </>
        )}
        <span role="status" class="faint">
          {running.value ? t("benchRunning") : ""}
        </span>
      </div>
      {running.value && <progress aria-label={t("benchRunning")} />}
      {first && (
        <>
          <table class="results">
            <thead>
              <tr>
                <th>{t("benchTest")}</th>
                <th class="align-right">{t("benchSpeed")}</th>
                <th class="align-right">{t("benchSpread")}</th>
                <th class="align-right">{t("benchFirst")}</th>
              </tr>
            </thead>
            <tbody>
              {rows.value.map((row) => (
                <tr key={label(row)}>
                  <td>{label(row)}</td>
                  <td class="align-right">{numberText(row.median_ts, 1)}</td>
                  <td class="align-right">{numberText(row.stddev_ts, 1)}</td>
                  <td class="align-right">{row.ttft_ms === null ? "" : numberText(row.ttft_ms)}</td>
                </tr>
              ))}
            </tbody>
          </table>
          <p class="faint">
            {first.model_type} · {first.isa} · {first.n_threads === 1 ? t("threadsOne") : t("threadsMany", { count: first.n_threads })}
            <br />
            {first.cpu_info}
          </p>
          <CopyButton text={JSON.stringify(rows.value, null, 1)} label={t("benchJson")} />
        </>
      )}
    </Dialog>
  );
}
