/** What this browser (or Node) can run, and which of the modules follows from it. */
import type { Features, ModuleName } from "./types.js";

/** `(func (result v128) i32.const 0  i8x16.splat  i8x16.popcnt)` as a whole module. */
const SIMD = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11,
];
/** `(func (result v128) i32.const 1  i8x16.splat  i32.const 2  i8x16.splat  i8x16.relaxed_swizzle)` */
const RELAXED_SIMD = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 1, 253, 15, 65, 2, 253, 15,
  253, 128, 2, 11,
];

const compiles = (bytes: number[]): boolean => {
  try {
    return WebAssembly.validate(new Uint8Array(bytes));
  } catch {
    return false; // no WebAssembly at all, or forbidden by the page's policy
  }
};

export const isNode = (): boolean =>
  typeof process === "object" && typeof process.versions?.node === "string" && !("importScripts" in globalThis);

const processors = (): number =>
  Math.max(1, (globalThis.navigator as Navigator | undefined)?.hardwareConcurrency ?? 1);

/** Threads that `load` takes by default: all processors while they are few, else half of them, since beyond that they
 * are mostly siblings that share a core, or slow cores that the others would wait for. */
export function defaultThreads(features: Features): number {
  const n = features.processors;
  return !features.threads ? 1 : n <= 4 ? n : Math.min(8, n >> 1);
}

export function moduleFor(features: Pick<Features, "relaxedSimd">, threads: number): ModuleName {
  return `${features.relaxedSimd ? "wasmrelaxed" : "wasm128"}${threads > 1 ? "-threads" : ""}`;
}

/** Node 20 has no navigator that would tell the processors. */
export async function featuresHere(): Promise<Features> {
  const found = features();
  if (!isNode()) return found;
  const { availableParallelism } = await import("node:os");
  found.processors = availableParallelism();
  found.module = moduleFor(found, defaultThreads(found));
  return found;
}

export function features(): Features {
  const simd = compiles(SIMD);
  const relaxedSimd = simd && compiles(RELAXED_SIMD);
  const isolated = isNode() || (globalThis as { crossOriginIsolated?: boolean }).crossOriginIsolated === true;
  const threads = simd && isolated && typeof SharedArrayBuffer === "function";
  const found: Features = {
    usable: simd && typeof Worker !== "undefined" ? true : simd && isNode(),
    simd,
    relaxedSimd,
    threads,
    processors: processors(),
    module: "wasm128",
    reason: "",
  };
  found.module = moduleFor(found, defaultThreads(found));
  found.reason = !simd
    ? typeof WebAssembly === "undefined"
      ? "This browser has no WebAssembly: use a current version of Chrome, Edge, Firefox or Safari."
      : "This browser's WebAssembly has no SIMD instructions, or the page's policy forbids it " +
        "('wasm-unsafe-eval'): use a current version of Chrome, Edge, Firefox or Safari."
    : threads
      ? `SIMD${relaxedSimd ? ", relaxed SIMD" : ""} and threads`
      : `SIMD${relaxedSimd ? " and relaxed SIMD" : ""}; no threads, since the page is not cross-origin isolated ` +
        "(it needs the headers COOP and COEP)";
  return found;
}
