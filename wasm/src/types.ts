/** The public types. `index.ts` exports all of them. */

/** The compiled modules, best last. `-threads` needs a cross-origin isolated page. */
export type ModuleName = "wasm128" | "wasm128-threads" | "wasmrelaxed" | "wasmrelaxed-threads";

/** Where bytes come from: a URL (in Node also a path), a File or Blob, bytes; or the parts of a split file, in order.
 * Of split GGUF files, as `name-00001-of-00003.gguf`, the URL of the first part is enough. */
export type Source = string | URL | Blob | Uint8Array | ArrayBuffer | readonly (string | URL | Blob)[];

export interface Features {
  /** False: this browser cannot run the library, and `reason` says why. */
  usable: boolean;
  simd: boolean;
  relaxedSimd: boolean;
  /** Cross-origin isolated, so that threads can share memory. */
  threads: boolean;
  /** Processors that the browser tells of. */
  processors: number;
  /** The module that `load` takes where nothing else is asked for. */
  module: ModuleName;
  /** Why this one, or why none: one sentence. */
  reason: string;
}

export interface Progress {
  /** "fetch" from the network, "cache" from this browser's storage, "read" from a file; then "open". */
  phase: "fetch" | "cache" | "read" | "open";
  /** Bytes so far, of all parts. */
  loaded: number;
  /** Bytes of all parts, or null where the server does not tell. */
  total: number | null;
}

export interface FetchOptions {
  onProgress?: (progress: Progress) => void;
  /** What did not stop the load, such as storage that is full: one sentence. */
  onWarning?: (message: string) => void;
  /** Keep what was fetched in this browser's storage, and look there first. Default true. */
  cache?: boolean;
  /** SHA-256 in hexadecimal that the file must have (of a split file: of all parts, one after the other). */
  sha256?: string;
  /** Headers for requests, such as authorization. */
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

export interface LoadOptions extends FetchOptions {
  /** Default: the processors that the browser tells of, at most 8; 1 where the page is not isolated. */
  threads?: number;
  /** Positions of the session. Default: what the model was trained for, at most 4096. Memory grows on use. */
  context?: number;
  /** How keys and values are kept. Default "f16". */
  kvType?: "f16" | "f32";
  /** Force a module. */
  module?: ModuleName;
  /** Folder of the library's worker and modules, where a bundler moved them. Default: beside this module. */
  assets?: string | URL;
}

export interface ModelInfo {
  name: string;
  arch: string;
  vocabSize: number;
  /** Positions that the model was trained for. */
  contextLength: number;
  /** Positions that fit into the session. */
  capacity: number;
  params: number;
  embeddingSize: number;
  layers: number;
  /** Bytes of the file. */
  fileSize: number;
  bosId: number | null;
  eosId: number | null;
  hasChatTemplate: boolean;
  module: ModuleName;
  threads: number;
  /** Milliseconds from the call of `load` until the model was ready, and of those, for opening it. */
  loadMs: number;
  openMs: number;
  /** Whether all bytes came from this browser's storage. */
  fromCache: boolean;
}

export type MetadataValue = string | number | bigint | boolean | MetadataValue[];

export interface TextPart {
  type: "text";
  text: string;
}

export interface Message {
  role: "system" | "user" | "assistant" | "tool" | (string & {});
  content: string | readonly TextPart[] | null;
  [key: string]: unknown;
}

export interface TemplateOptions {
  tools?: readonly unknown[];
  /** Default true. */
  addGenerationPrompt?: boolean;
}

/** Adapters by name with their scale; one name alone has scale 1. */
export type LoraSet = string | Record<string, number>;

/** The defaults are those of the Python package, and the same seed gives the same tokens. */
export interface GenerateOptions {
  /** Default 256. */
  maxTokens?: number;
  /** 0 is greedy. Default 0.8. */
  temperature?: number;
  /** 0: off. Default 40. */
  topK?: number;
  /** 1: off. Default 0.95. */
  topP?: number;
  /** 0: off. Default 0.05. */
  minP?: number;
  /** 1: off. Default 1. */
  repeatPenalty?: number;
  /** 0 to 2^64 - 1; default: fresh entropy. */
  seed?: number | bigint;
  /** The text ends before the first of these. */
  stop?: string | readonly string[];
  /** What is added to the logits of tokens; -Infinity forbids one. */
  logitBias?: Record<number, number> | ReadonlyMap<number, number>;
  /** So many best alternatives with each token. Default 0. */
  logprobs?: number;
  /** Evaluate tokens ahead where the text repeats itself: the same answer, sooner. Default true. */
  lookup?: boolean | number;
  /** The adapters of this generation and from then on, as `setLora` sets them. Absent: as they are. */
  lora?: LoraSet | null;
  /** Ends the generation within one token, also while the prompt is read; the last piece tells "cancelled". */
  signal?: AbortSignal;
}

export interface ChatOptions extends GenerateOptions, Pick<TemplateOptions, "tools"> {}

export interface CompleteOptions extends GenerateOptions {
  /** Recognise special tokens that are written in the prompt. Default true, as in Python. */
  parseSpecial?: boolean;
}

export type FinishReason = "stop" | "length" | "cancelled";

export interface Alternative {
  token: number;
  /** Of this token alone; incomplete characters are U+FFFD. */
  text: string;
  /** Natural logarithm of the model's own probability. */
  logprob: number;
}

/** One step of a generation. */
export interface Piece {
  /** Whole characters only; empty where a token ends inside one, or may still become a stop string. */
  text: string;
  /** Null where the step brought no token (cancelled, nothing asked for). */
  token: number | null;
  logprob: number | null;
  /** The best alternatives, best first, where `logprobs` asked for them. */
  top?: Alternative[];
  /** On the last piece, and only there. */
  finishReason?: FinishReason;
}

export interface Timings {
  /** Tokens of the prompt; of those, evaluated anew (the others were in the session). */
  promptTokens: number;
  evaluatedTokens: number;
  promptMs: number;
  /** Tokens after the first, and their time. */
  decodeTokens: number;
  decodeMs: number;
  /** From the call until the first token. */
  ttftMs: number;
  draftedTokens: number;
  acceptedTokens: number;
}

export interface Completion {
  text: string;
  /** Without the end token. */
  tokens: number[];
  finishReason: FinishReason;
  logprobs: number[];
  top: Alternative[][];
  timings: Timings;
}

/** Iterate it once, or ask for the whole: it begins with the first of these. Leaving the loop ends the generation. */
export interface Generation extends AsyncIterableIterator<Piece> {
  /** Runs what is left and gives the whole; also after the loop. */
  completion(): Promise<Completion>;
  /** Complete when the iteration has ended. */
  readonly timings: Timings;
}

export interface LoadLoraOptions extends FetchOptions {
  /** Attach it at once with this scale. Default: only loaded. */
  scale?: number;
}

export interface LoraInfo {
  name: string;
  /** 0: loaded, not attached. */
  scale: number;
  rank: number;
  bytes: number;
}

export interface Usage {
  /** Tokens in the session, and how many fit. */
  position: number;
  capacity: number;
  /** Bytes of the module's memory, the model included. */
  memoryBytes: number;
  /** Bytes of the session: keys, values and scratch. */
  sessionBytes: number;
}

export interface BenchOptions {
  /** Prompt lengths; default [512]. */
  prompt?: readonly number[];
  /** Tokens to generate; default [128]. */
  generate?: readonly number[];
  /** Tokens that are there before; default [0]. */
  depth?: readonly number[];
  /** Samples of each test; default 5. */
  repetitions?: number;
  onRow?: (row: BenchRow) => void;
  signal?: AbortSignal;
}

/** A test, with the columns of `pyedge bench -o json`. */
export interface BenchRow {
  model_filename: string;
  model_type: string;
  model_size: number;
  model_n_params: number;
  cpu_info: string;
  isa: string;
  n_threads: number;
  n_prompt: number;
  n_gen: number;
  n_depth: number;
  samples_ts: number[];
  avg_ts: number;
  stddev_ts: number;
  median_ts: number;
  load_ms: number | null;
  ttft_ms: number | null;
  peak_rss_bytes: number | null;
  weights_gb_per_s: number | null;
  output_hash: string | null;
  bound_gb_per_s: number | null;
  bound_percent: number | null;
  start_ms: number | null;
}

export interface CacheEntry {
  url: string;
  bytes: number;
  sha256: string;
  /** Milliseconds since 1970. */
  added: number;
}

/** A model in a worker of its own. One generation at a time; the session is kept between them, so that a conversation
 * that goes on evaluates only what is new. */
export interface Model {
  readonly info: ModelInfo;
  /** All keys of the file; lists longer than 64 are cut. */
  metadata(): Promise<Record<string, MetadataValue>>;

  /** Answer a conversation, through the chat template of the file. */
  chat(messages: readonly Message[], options?: ChatOptions): Generation;
  /** Continue a text as it is, or token ids. */
  complete(prompt: string | Uint8Array | readonly number[], options?: CompleteOptions): Generation;
  applyChatTemplate(messages: readonly Message[], options?: TemplateOptions): Promise<string>;

  tokenize(
    text: string | Uint8Array,
    options?: { addSpecial?: boolean; parseSpecial?: boolean },
  ): Promise<number[]>;
  detokenize(ids: readonly number[], options?: { skipSpecial?: boolean }): Promise<string>;
  /** The bytes of one token. */
  tokenBytes(id: number): Promise<Uint8Array>;
  /** Logits [vocabSize] after the last of the ids. The session is left empty. */
  logits(ids: readonly number[]): Promise<Float32Array>;
  /** One vector [embeddingSize], pooled as the file says, else the mean. The session is left empty. */
  embed(text: string): Promise<Float32Array>;

  /** Read an adapter (GGUF, PEFT safetensors with its adapter_config.json beside it, Nano plugin) under a name. */
  loadLora(name: string, source: Source, options?: LoadLoraOptions): Promise<LoraInfo>;
  unloadLora(name: string): Promise<void>;
  /** What is attached from the next token on; null: nothing. */
  setLora(set: LoraSet | null): Promise<void>;
  loras(): Promise<LoraInfo[]>;

  /** Forget the conversation; the next generation starts from nothing. */
  reset(): Promise<void>;
  usage(): Promise<Usage>;
  bench(options?: BenchOptions): Promise<BenchRow[]>;
  /** End the worker and give its memory back. Running calls reject with ClosedError. */
  close(): Promise<void>;
}
