/** Arguments, checked before anything is sent: the same limits and messages as in the Python package. */
import type { WireFetch, WireGenerate, WireLora, WirePart } from "./protocol.js";
import type { FetchOptions, GenerateOptions, LoraSet, Message, Source } from "./types.js";
import { isNode } from "./features.js";
import { splitNames } from "./split.js";

const MAX_INT = 2 ** 31 - 1;

const shown = (value: unknown): string =>
  typeof value === "number" || typeof value === "bigint" ? String(value) : typeof value;

export function integer(name: string, value: unknown, low: number, high: number, what: string): number {
  if (typeof value !== "number") throw new TypeError(`${name} must be ${what}, not ${shown(value)}`);
  if (!Number.isInteger(value) || value < low || value > high)
    throw new RangeError(`${name} must be ${what}, not ${value}`);
  return value;
}

function real(name: string, value: unknown, accept: (x: number) => boolean, what: string): number {
  if (typeof value !== "number") throw new TypeError(`${name} must be ${what}, not ${shown(value)}`);
  if (!accept(value)) throw new RangeError(`${name} must be ${what}, not ${value}`);
  return value;
}

function seedOf(seed: number | bigint | undefined | null): bigint | null {
  if (seed === undefined || seed === null) return null;
  const what = "an integer from 0 to 2^64 - 1 (above 2^53 a bigint)";
  if (typeof seed === "number" && !Number.isSafeInteger(seed)) throw new RangeError(`seed must be ${what}, not ${seed}`);
  if (typeof seed !== "number" && typeof seed !== "bigint") throw new TypeError(`seed must be ${what}, not ${shown(seed)}`);
  const value = BigInt(seed);
  if (value < 0n || value >= 1n << 64n) throw new RangeError(`seed must be ${what}, not ${seed}`);
  return value;
}

function stopsOf(stop: string | readonly string[] | undefined): string[] {
  const what = "stop must be a string or a list of non-empty strings";
  const stops = stop === undefined ? [] : typeof stop === "string" ? [stop] : stop;
  if (!Array.isArray(stops)) throw new TypeError(`${what}, not ${shown(stop)}`);
  for (const item of stops) {
    if (typeof item !== "string") throw new TypeError(`${what}, and one is a ${shown(item)}`);
    if (!item) throw new RangeError(`${what}, and one is empty`);
  }
  return [...stops];
}

function biasOf(bias: GenerateOptions["logitBias"], vocabSize: number): [number, number][] {
  if (bias === undefined) return [];
  if (typeof bias !== "object" || bias === null)
    throw new TypeError(`logitBias must be an object or Map of token id to number, not ${shown(bias)}`);
  const entries = bias instanceof Map ? [...bias.entries()] : Object.entries(bias);
  return entries.map(([key, value]) => {
    const id = integer("a key of logitBias", Number(key), 0, vocabSize - 1, `a token id, 0 to ${vocabSize - 1}`);
    const what = "a number, or -Infinity to forbid the token";
    return [id, real(`logitBias[${id}]`, value, (x) => x < Infinity, what)];
  });
}

const KNOWN = new Set<keyof GenerateOptions | "tools" | "parseSpecial">([
  "maxTokens", "temperature", "topK", "topP", "minP", "repeatPenalty", "seed", "stop", "logitBias", "logprobs",
  "lookup", "lora", "signal", "tools", "parseSpecial",
]); // prettier-ignore

export function checkGenerate(options: GenerateOptions, vocabSize: number): WireGenerate {
  for (const name of Object.keys(options))
    if (!KNOWN.has(name as keyof GenerateOptions))
      throw new TypeError(`unknown option '${name}': the options are ${[...KNOWN].join(", ")}`);
  const lookup = options.lookup ?? true;
  return {
    maxTokens: integer("maxTokens", options.maxTokens ?? 256, 0, MAX_INT, "an integer from 0 to 2^31 - 1"),
    temperature: real("temperature", options.temperature ?? 0.8, (x) => x >= 0 && x < Infinity, "a finite number, 0 (greedy) or more"),
    topK: integer("topK", options.topK ?? 40, 0, MAX_INT, "an integer, 0 (off) or more"),
    topP: real("topP", options.topP ?? 0.95, (x) => x > 0 && x <= 1, "above 0 and up to 1 (off)"),
    minP: real("minP", options.minP ?? 0.05, (x) => x >= 0 && x < 1, "from 0 (off) to below 1"),
    repeatPenalty: real("repeatPenalty", options.repeatPenalty ?? 1, (x) => x > 0 && x < Infinity, "a finite number above 0 (1: off)"),
    seed: seedOf(options.seed),
    stop: stopsOf(options.stop),
    logitBias: biasOf(options.logitBias, vocabSize),
    logprobs: integer("logprobs", options.logprobs ?? 0, 0, vocabSize, `an integer from 0 (off) to ${vocabSize}`),
    lookup:
      typeof lookup === "boolean"
        ? lookup ? MAX_INT : 0
        : integer("lookup", lookup, 0, MAX_INT, "true, false, or the most tokens to look ahead"),
  }; // prettier-ignore
}

export function checkLora(set: LoraSet | null | undefined): WireLora {
  if (set === undefined) return undefined;
  if (set === null) return {};
  if (typeof set === "string") return { [set]: 1 };
  if (typeof set !== "object") throw new TypeError(`lora must be a name, or an object of name to scale, not ${shown(set)}`);
  for (const [name, scale] of Object.entries(set))
    real(`the scale of adapter '${name}'`, scale, Number.isFinite, "a finite number");
  return { ...set };
}

export function checkIds(ids: unknown, vocabSize: number): number[] {
  if (typeof ids === "string" || typeof ids !== "object" || ids === null || !(Symbol.iterator in ids))
    throw new TypeError("token ids must be a list of integers: use tokenize() for text");
  const list = Array.from(ids as Iterable<unknown>);
  list.forEach((id, i) => integer(`token ${i}`, id, 0, vocabSize - 1, `a token id, 0 to ${vocabSize - 1}`));
  return list as number[];
}

export function checkText(name: string, text: unknown): string | Uint8Array {
  if (typeof text === "string" || text instanceof Uint8Array) return text;
  throw new TypeError(`${name} must be a string or a Uint8Array, not ${shown(text)}`);
}

/** Refuse what is no conversation, with the place and the form that is expected. */
export function checkMessages(messages: unknown): Message[] {
  const form = '{ role: "user", content: "text" }';
  if (!Array.isArray(messages)) throw new TypeError(`messages must be a list of objects like ${form}, not ${shown(messages)}`);
  if (!messages.length) throw new RangeError(`messages must have at least one entry like ${form}`);
  messages.forEach((message: unknown, i) => {
    if (typeof message !== "object" || message === null)
      throw new TypeError(`messages[${i}] must be an object like ${form}, not ${shown(message)}`);
    const { role, content, tool_calls: calls } = message as Record<string, unknown>;
    if (typeof role !== "string" || !role)
      throw new TypeError(`messages[${i}] must have a 'role' that is a non-empty string, like ${form}`);
    if (typeof content === "string" || ((content === null || content === undefined) && calls)) return;
    const isText = (part: unknown): boolean =>
      typeof part === "object" && part !== null &&
      (part as { type?: unknown }).type === "text" && typeof (part as { text?: unknown }).text === "string"; // prettier-ignore
    if (Array.isArray(content) && content.every(isText)) return;
    throw new TypeError(`messages[${i}] must have a 'content' that is a string, or a list of { type: "text", text } parts`);
  });
  return messages as Message[];
}

export function checkFetch(options: FetchOptions): WireFetch {
  const sha256 = options.sha256?.toLowerCase() ?? null;
  if (sha256 !== null && !/^[0-9a-f]{64}$/.test(sha256))
    throw new TypeError("sha256 must be 64 hexadecimal digits");
  return { cache: options.cache ?? true, sha256, headers: { ...options.headers } };
}

function partOf(source: unknown): WirePart {
  if (source instanceof URL) return source.href;
  if (source instanceof ArrayBuffer) return new Uint8Array(source);
  if (typeof source === "string") {
    if (!source) throw new TypeError("the address of the file is empty");
    const base = (globalThis as { location?: { href: string } }).location?.href;
    return base && !isNode() ? new URL(source, base).href : source;
  }
  if (source instanceof Uint8Array || (typeof Blob !== "undefined" && source instanceof Blob)) return source;
  throw new TypeError("a source is a URL, a File or Blob, a Uint8Array, or a list of the parts of a split file");
}

export function checkSource(source: Source): WirePart[] {
  if (Array.isArray(source)) {
    if (!source.length) throw new RangeError("the list of parts is empty");
    return source.map(partOf);
  }
  const part = partOf(source);
  return typeof part === "string" ? splitNames(part) : [part];
}
