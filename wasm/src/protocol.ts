/** What client and worker say to each other: one union for each direction. A request has an id, and gets exactly one
 * `done` or `error` with it, after any number of the others. */
import type {
  BenchOptions,
  BenchRow,
  FinishReason,
  LoraInfo,
  Message,
  MetadataValue,
  ModelInfo,
  ModuleName,
  Piece,
  Progress,
  Timings,
  Usage,
} from "./types.js";
import type { ErrorCode } from "./errors.js";

/** A source that can be sent: URLs and, in Node, paths are text. */
export type WirePart = string | Blob | Uint8Array;

export interface WireFetch {
  cache: boolean;
  sha256: string | null;
  headers: Record<string, string>;
}

/** Generation options, checked and complete. */
export interface WireGenerate {
  maxTokens: number;
  temperature: number;
  topK: number;
  topP: number;
  minP: number;
  repeatPenalty: number;
  seed: bigint | null;
  stop: string[];
  logitBias: [number, number][];
  logprobs: number;
  lookup: number;
}

/** Absent: as it is. */
export type WireLora = Record<string, number> | undefined;

export type Prompt =
  | { kind: "chat"; messages: Message[]; tools: unknown[] | null }
  | { kind: "text"; text: string | Uint8Array; parseSpecial: boolean }
  | { kind: "ids"; ids: number[] };

export type Call =
  | {
      kind: "load";
      parts: WirePart[];
      fetch: WireFetch;
      module: ModuleName;
      threads: number;
      context: number;
      kvF32: boolean;
      assets: string;
      /** Where memory can be shared: one number, the id of a request to end while it evaluates. */
      word: Int32Array<SharedArrayBuffer> | null;
      /** performance.timeOrigin + performance.now() of the call */
      started: number;
    }
  | { kind: "metadata" }
  | { kind: "template"; messages: Message[]; tools: unknown[] | null; addGenerationPrompt: boolean }
  | { kind: "tokenize"; text: string | Uint8Array; addSpecial: boolean; parseSpecial: boolean }
  | { kind: "detokenize"; ids: number[]; skipSpecial: boolean }
  | { kind: "tokenBytes"; token: number }
  | { kind: "logits"; ids: number[] }
  | { kind: "embed"; text: string }
  | { kind: "generate"; prompt: Prompt; options: WireGenerate; lora: WireLora }
  | { kind: "loadLora"; name: string; parts: WirePart[]; fetch: WireFetch; scale: number }
  | { kind: "unloadLora"; name: string }
  | { kind: "setLora"; set: Record<string, number> }
  | { kind: "loras" }
  | { kind: "reset" }
  | { kind: "usage" }
  | { kind: "bench"; options: Omit<BenchOptions, "onRow" | "signal"> };

export interface Results {
  load: ModelInfo;
  metadata: Record<string, MetadataValue>;
  template: string;
  tokenize: number[];
  detokenize: string;
  tokenBytes: Uint8Array;
  logits: Float32Array;
  embed: Float32Array;
  /** `ended`: the last token is one that ends an answer, and no part of it. */
  generate: { finishReason: FinishReason; timings: Timings; ended: boolean };
  loadLora: LoraInfo;
  unloadLora: undefined;
  setLora: undefined;
  loras: LoraInfo[];
  reset: undefined;
  usage: Usage;
  bench: BenchRow[];
}

/** To the worker. `abort` names the request to end; `leave` ends all of them, and the model's threads: its page is going. */
export type ToWorker = (Call & { id: number }) | { kind: "abort"; id: number } | { kind: "leave" };

/** In the word that page and worker share: whatever is evaluated is to end. */
export const END_ALL = -1;

export interface WireError {
  code: ErrorCode | "type" | "range" | "aborted";
  message: string;
  needed?: number;
  capacity?: number;
  status?: number | undefined;
}

export type FromWorker =
  | { kind: "progress"; id: number; progress: Progress }
  | { kind: "warning"; id: number; message: string }
  | { kind: "piece"; id: number; piece: Piece }
  | { kind: "row"; id: number; row: BenchRow }
  | { kind: "done"; id: number; value: unknown }
  | { kind: "error"; id: number; error: WireError };
