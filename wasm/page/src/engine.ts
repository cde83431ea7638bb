/** The loaded model: loading with progress, giving up, closing, its adapters, its memory. */
import { signal } from "@preact/signals";
import { PyEdge, UnsupportedError, type Features, type Model, type Progress, type Source, type Usage } from "pyedge";
import { splitNames } from "../../src/split";
import { nameOf } from "./address";
import { t } from "./i18n";
import { remember, remembered } from "./keep";
import { notice, sentence, tell, tellError, tellWarning } from "./notices";
import { threads } from "./settings";
import type { Adapter, Catalogue, CatalogueModel, ModelOrigin } from "./types";

export type Engine =
  | { phase: "none" }
  | { phase: "loading"; origin: ModelOrigin; progress: Progress | null; stop: AbortController }
  | { phase: "ready"; origin: ModelOrigin; model: Model };

export const engine = signal<Engine>({ phase: "none" });
export const adapters = signal<Adapter[]>([]);
/** Names of the adapters that are being read or changed. */
export const adaptersBusy = signal<ReadonlySet<string>>(new Set());
export const usage = signal<Usage | null>(null);
export const catalogue = signal<Catalogue>({ models: [] });
/** Addresses of models that this browser keeps, with their size. */
export const kept = signal<ReadonlyMap<string, number>>(new Map());

/** What the browser allows, or why nothing runs. */
export const features: Features = (() => {
  try {
    return PyEdge.features();
  } catch (error) {
    const reason = sentence(error).text;
    const none = { usable: false, simd: false, relaxedSimd: false, threads: false, processors: 1 };
    return { ...none, module: "wasm128", reason };
  }
})();

const assets = new URL("./engine/", document.baseURI);

function absolute(url: string): string {
  return new URL(url, document.baseURI).href;
}

/** Where the bytes of an origin come from, as the library wants it. */
function sourceOf(origin: ModelOrigin): Source {
  const { source } = origin;
  if (typeof source === "string") return absolute(source);
  const parts = source.map((part: string | File) => (typeof part === "string" ? absolute(part) : part));
  return parts.length === 1 && parts[0] ? parts[0] : parts;
}

// ---- loading ----

/** Loads a model in place of the one that is there. True when it is ready; a failure is told, and the model that
 * was there comes back. */
export async function load(origin: ModelOrigin): Promise<boolean> {
  if (!features.usable) {
    tellError(new UnsupportedError(features.reason));
    return false;
  }
  const before = engine.value;
  if (before.phase === "loading") before.stop.abort();
  const stop = new AbortController();
  engine.value = { phase: "loading", origin, progress: null, stop };
  const mine = () => engine.value.phase === "loading" && engine.value.stop === stop;
  notice.value = null;
  usage.value = null;
  // First give the memory back: two models at once may be more than the tab gets.
  if (before.phase === "ready") await before.model.close().catch(() => undefined);
  const alone = await holdModel();
  let model: Model;
  try {
    model = await PyEdge.load(sourceOf(origin), {
      assets,
      signal: stop.signal,
      ...(origin.sha256 ? { sha256: origin.sha256 } : {}),
      ...(threads.value ? { threads: threads.value } : {}),
      onWarning: tellWarning,
      onProgress: (progress) => {
        if (mine()) engine.value = { phase: "loading", origin, progress, stop };
      },
    });
  } catch (error) {
    if (!mine()) return false; // another load has taken over
    engine.value = { phase: "none" };
    adapters.value = [];
    releaseModel();
    const restored = before.phase === "ready" && (await load(before.origin));
    if (!stop.signal.aborted) {
      const told = sentence(error);
      notice.value = { kind: "error", ...told };
      if (restored) notice.value = { kind: "error", ...told, text: `${told.text} ${t("restored", { name: before.origin.name })}` };
    }
    return false;
  }
  if (!mine()) {
    void model.close().catch(() => undefined);
    return false;
  }
  adapters.value = [];
  engine.value = { phase: "ready", origin, model };
  if (!alone) tell(t("secondTab"));
  if (typeof origin.source === "string" || origin.source.every((part) => typeof part === "string")) remember("model", origin);
  void refreshUsage();
  void refreshKept();
  return true;
}

export function giveUpLoading(): void {
  const now = engine.value;
  if (now.phase !== "loading") return;
  now.stop.abort();
  engine.value = { phase: "none" };
}

export async function closeModel(): Promise<void> {
  const now = engine.value;
  if (now.phase !== "ready") return;
  engine.value = { phase: "none" };
  adapters.value = [];
  usage.value = null;
  releaseModel();
  await now.model.close().catch(() => undefined);
}

/** The worker ended under us: take note, so that the page offers to load again. */
export function lostModel(): void {
  if (engine.value.phase !== "ready") return;
  engine.value = { phase: "none" };
  adapters.value = [];
  usage.value = null;
  releaseModel();
}

let release: (() => void) | null = null;

/** Takes this browser's mark of a tab with a model. False where another tab has it: both may run, each in its own
 * memory. */
async function holdModel(): Promise<boolean> {
  if (release || !("locks" in navigator)) return true;
  return new Promise((resolve) => {
    navigator.locks
      .request("pyedge-model", { ifAvailable: true }, (lock) => {
        resolve(lock !== null);
        return lock ? new Promise<void>((done) => (release = done)) : undefined;
      })
      .catch(() => resolve(true));
  });
}

function releaseModel(): void {
  release?.();
  release = null;
}

export async function refreshUsage(): Promise<void> {
  const now = engine.value;
  if (now.phase !== "ready") return;
  try {
    const value = await now.model.usage();
    if (engine.value === now) usage.value = value;
  } catch {
    // Closed meanwhile.
  }
}

// ---- the models to choose from ----

export async function readCatalogue(): Promise<void> {
  try {
    const answer = await fetch("./models.json", { cache: "no-cache" });
    if (answer.ok) catalogue.value = (await answer.json()) as Catalogue;
  } catch {
    // No list: files and addresses still work.
  }
}

export async function refreshKept(): Promise<void> {
  try {
    kept.value = new Map((await PyEdge.cached()).map((entry) => [entry.url, entry.bytes]));
  } catch {
    kept.value = new Map();
  }
}

/** The addresses of a model's file, or of the parts of a split one. */
export function addressesOf(url: string | string[]): string[] {
  return typeof url === "string" ? splitNames(absolute(url)) : url.map(absolute);
}

export function isKept(model: CatalogueModel): boolean {
  return addressesOf(model.url).every((url) => kept.value.has(url));
}

/** Models that were loaded from an address once, and are not among `known`: offered again. */
export function keptBeside(known: CatalogueModel[]): CatalogueModel[] {
  const listed = new Set(known.flatMap((model) => addressesOf(model.url)));
  const found = new Map<string, CatalogueModel & { bytes: number }>();
  for (const [url, bytes] of kept.value) {
    if (listed.has(url) || /\/adapters\/|\.safetensors$|\.json$/.test(url)) continue;
    const parts = splitNames(url.replace(/-\d{5}(-of-\d{5}\.gguf)/, "-00001$1"));
    const first = parts[0] ?? url;
    const model = found.get(first) ?? { name: nameOf(first), url: parts.length > 1 ? parts : url, bytes: 0 };
    found.set(first, { ...model, bytes: model.bytes + bytes });
  }
  return [...found.values()];
}

export async function forget(model: CatalogueModel): Promise<void> {
  try {
    for (const url of addressesOf(model.url)) await PyEdge.uncache(url);
  } catch (error) {
    tellError(error);
  }
  await refreshKept();
}

export function originOf({ name, url, bytes, sha256 }: CatalogueModel): ModelOrigin {
  return { name, source: url, ...(bytes ? { bytes } : {}), ...(sha256 ? { sha256 } : {}) };
}

/** The model to begin with: the one that the server says, or the last one if it need not be fetched again. */
export function modelToBeginWith(): ModelOrigin | null {
  const { models, start } = catalogue.value;
  const named = models.find((model) => model.name === start);
  if (named) return originOf(named);
  const last = remembered<ModelOrigin | null>("model", null);
  return last && isKept({ name: last.name, url: last.source as string | string[] }) ? last : null;
}

// ---- adapters ----

function change(name: string, fields: Partial<Adapter>): void {
  adapters.value = adapters.value.map((entry) => (entry.name === name ? { ...entry, ...fields } : entry));
}

async function busyWith(name: string, work: () => Promise<void>): Promise<boolean> {
  adaptersBusy.value = new Set([...adaptersBusy.value, name]);
  try {
    await work();
    return true;
  } catch (error) {
    tellError(error);
    return false;
  } finally {
    adaptersBusy.value = new Set([...adaptersBusy.value].filter((entry) => entry !== name));
  }
}

/** The set that is switched on, with scales. */
export function attached(): Record<string, number> {
  return Object.fromEntries(adapters.value.filter((entry) => entry.on).map((entry) => [entry.name, entry.scale]));
}

/** Reads an adapter and switches it on; in the middle of an answer it works from the next token on. */
export async function addAdapter(source: string | File[], name?: string, scale = 1): Promise<boolean> {
  const now = engine.value;
  if (now.phase !== "ready") {
    tell(t("adapterNeedsModel"));
    return false;
  }
  const file = typeof source === "string" ? source : (source.find((part) => !/\.json$/.test(part.name))?.name ?? "");
  const wanted = (name ?? nameOf(file)) || "adapter";
  let unique = wanted;
  for (let number = 2; adapters.value.some((entry) => entry.name === unique); number++) unique = `${wanted} ${number}`;
  return busyWith(unique, async () => {
    const from = typeof source === "string" ? absolute(source) : source.length === 1 && source[0] ? source[0] : source;
    const info = await now.model.loadLora(unique, from);
    if (engine.value !== now) return;
    adapters.value = [...adapters.value, { name: unique, bytes: info.bytes, rank: info.rank, on: true, scale }];
    await now.model.setLora(attached());
    void refreshUsage();
  });
}

export async function setAdapter(name: string, fields: { on?: boolean; scale?: number }): Promise<void> {
  const now = engine.value;
  if (now.phase !== "ready") return;
  const before = adapters.value;
  change(name, fields);
  const done = await busyWith(name, () => now.model.setLora(attached()));
  if (!done && engine.value === now) adapters.value = before;
}

export async function removeAdapter(name: string): Promise<void> {
  const now = engine.value;
  if (now.phase !== "ready") return;
  await busyWith(name, async () => {
    await now.model.unloadLora(name);
    adapters.value = adapters.value.filter((entry) => entry.name !== name);
  });
  void refreshUsage();
}
