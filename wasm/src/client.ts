/** The model as the page sees it: calls become messages to the worker that has it. */
import {
  AdapterError,
  BusyError,
  ClosedError,
  ContextOverflowError,
  ModelFileError,
  NetworkError,
  OutOfMemoryError,
  PyEdgeError,
  StorageError,
  UnsupportedError,
} from "./errors.js";
import { defaultThreads, featuresHere, isNode, moduleFor } from "./features.js";
import {
  checkFetch,
  checkGenerate,
  checkIds,
  checkLora,
  checkMessages,
  checkSource,
  checkText,
  integer,
} from "./options.js";
import { END_ALL } from "./protocol.js";
import type { Call, FromWorker, Prompt, Results, ToWorker, WireError, WireLora } from "./protocol.js";
import type {
  BenchOptions,
  BenchRow,
  ChatOptions,
  CompleteOptions,
  Completion,
  FetchOptions,
  GenerateOptions,
  Generation,
  LoadLoraOptions,
  LoadOptions,
  LoraInfo,
  LoraSet,
  Message,
  MetadataValue,
  Model,
  ModelInfo,
  ModuleName,
  Piece,
  Source,
  TemplateOptions,
  Timings,
  Usage,
} from "./types.js";

const MODULES: readonly ModuleName[] = ["wasm128", "wasm128-threads", "wasmrelaxed", "wasmrelaxed-threads"];
const MAX_THREADS = 64;

// ---- the worker, in a page and in Node ----

interface Port {
  post(message: ToWorker): void;
  terminate(): void;
}
interface Listener {
  message(message: FromWorker): void;
  failed(reason: string): void;
}

async function startWorker(assets: string, listener: Listener): Promise<Port> {
  const url = new URL("worker.js", assets);
  if (isNode()) {
    const { Worker } = await import("node:worker_threads");
    const worker = new Worker(url);
    worker.on("message", (message: FromWorker) => listener.message(message));
    worker.on("error", (error: Error) => listener.failed(error.message));
    worker.on("exit", () => listener.failed("the worker ended"));
    return { post: (message) => worker.postMessage(message), terminate: () => void worker.terminate() };
  }
  let worker: Worker;
  const here = (globalThis as { location?: { origin: string } }).location?.origin;
  if (here === undefined || url.origin === here) worker = new Worker(url, { type: "module", name: "pyedge" });
  else {
    // Workers must be of the page's own origin; a line that imports the other one's is.
    const line = new Blob([`import ${JSON.stringify(url.href)};`], { type: "text/javascript" });
    const address = URL.createObjectURL(line);
    worker = new Worker(address, { type: "module", name: "pyedge" });
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  }
  worker.onmessage = (event: MessageEvent<FromWorker>) => listener.message(event.data);
  worker.onmessageerror = () => listener.failed("a message of the worker could not be read");
  worker.onerror = (event) => {
    event.preventDefault(); // it is told through the promises
    listener.failed(event.message || `its script could not be loaded from ${url.href}`);
  };
  return { post: (message) => worker.postMessage(message), terminate: () => worker.terminate() };
}

function asError(error: WireError, signal: AbortSignal | undefined): unknown {
  const { code, message } = error;
  switch (code) {
    case "aborted":
      return signal?.aborted ? signal.reason : new DOMException(message, "AbortError");
    case "type":
      return new TypeError(message);
    case "range":
      return new RangeError(message);
    case "model-file":
      return new ModelFileError(message);
    case "unsupported":
      return new UnsupportedError(message);
    case "context-overflow":
      return new ContextOverflowError(message, error.needed, error.capacity);
    case "adapter":
      return new AdapterError(message);
    case "out-of-memory":
      return new OutOfMemoryError(message);
    case "network":
      return new NetworkError(message, error.status);
    case "storage":
      return new StorageError(message);
    case "busy":
      return new BusyError(message);
    case "closed":
      return new ClosedError(message);
    default:
      return new PyEdgeError(message, code);
  }
}

// ---- requests ----

interface Pending {
  done(value: unknown): void;
  failed(error: unknown): void;
  signal: AbortSignal | undefined;
  also: ((message: FromWorker) => void) | undefined;
  stopListening: () => void;
}

/** The two ends of one worker: requests by id, and what became of them. */
class Channel implements Listener {
  private port: Port | null = null;
  private ended: ClosedError | null = null;
  private nextId = 1;
  private readonly pending = new Map<number, Pending>();
  /** The id of a request to end, where memory can be shared. Not the module's own memory: browsers do not count that when
   * they decide to collect, and a closed model that the page holds would stay. */
  readonly word = typeof SharedArrayBuffer === "function" ? new Int32Array(new SharedArrayBuffer(4)) : null;

  static async open(assets: string): Promise<Channel> {
    const channel = new Channel();
    channel.port = await startWorker(assets, channel);
    globalThis.addEventListener?.("pagehide", channel.onPageHide); // there is none in Node
    return channel;
  }

  request<K extends Call["kind"]>(
    call: Extract<Call, { kind: K }>,
    signal?: AbortSignal,
    also?: (message: FromWorker) => void,
  ): Promise<Results[K]> {
    return new Promise((resolve, reject) => {
      if (this.ended) return reject(this.ended);
      const id = this.nextId++;
      const onAbort = (): void => this.abort(id);
      this.pending.set(id, {
        done: resolve as (value: unknown) => void,
        failed: reject,
        signal,
        also,
        stopListening: () => signal?.removeEventListener("abort", onAbort),
      });
      try {
        this.port?.post({ ...call, id } as ToWorker);
      } catch (error) {
        this.pending.delete(id); // something that cannot be sent, such as a function within a message
        return reject(new TypeError(`the arguments cannot be sent to the worker: ${(error as Error).message}`));
      }
      if (signal?.aborted) onAbort();
      else signal?.addEventListener("abort", onAbort, { once: true });
    });
  }

  private abort(id: number): void {
    if (this.word) Atomics.store(this.word, 0, id);
    this.port?.post({ kind: "abort", id });
  }

  message(message: FromWorker): void {
    const pending = this.pending.get(message.id);
    if (!pending) return;
    if (message.kind !== "done" && message.kind !== "error") {
      pending.also?.(message);
      return;
    }
    this.pending.delete(message.id);
    pending.stopListening();
    if (message.kind === "done") pending.done(message.value);
    else pending.failed(asError(message.error, pending.signal));
  }

  failed(reason: string): void {
    this.end(new ClosedError(`the worker failed: ${reason}`));
  }

  /** The page goes, and its workers with it; but one that sleeps is only ended after two seconds, in which a page that is
   * loaded again has both models. So the threads are told. */
  private readonly onPageHide = (event: Event): void => {
    if ((event as PageTransitionEvent).persisted) return; // it may come back
    if (this.word) Atomics.store(this.word, 0, END_ALL);
    this.port?.post({ kind: "leave" });
  };

  /** End the worker, and with it all that has its memory. */
  end(error: ClosedError): void {
    if (this.ended) return;
    this.ended = error;
    globalThis.removeEventListener?.("pagehide", this.onPageHide);
    this.port?.terminate();
    this.port = null;
    const waiting = [...this.pending.values()];
    this.pending.clear();
    for (const pending of waiting) {
      pending.stopListening();
      pending.failed(pending.signal?.aborted ? pending.signal.reason : error);
    }
  }
}

// ---- generation ----

const NO_TIMINGS: Timings = {
  promptTokens: 0, evaluatedTokens: 0, promptMs: 0, decodeTokens: 0, decodeMs: 0, ttftMs: 0, draftedTokens: 0,
  acceptedTokens: 0,
}; // prettier-ignore

/** Begins with the first question for a piece or for the whole. */
class RunningGeneration implements Generation {
  timings: Timings = { ...NO_TIMINGS };
  private readonly pieces: Piece[] = []; // all of them
  private given = 0; // to the one who iterates
  private left = false;
  private wake: (() => void) | null = null;
  private running: Promise<void> | null = null;
  private over = false;
  private ended = false;
  private error: { value: unknown } | null = null;
  private readonly stop = new AbortController();

  constructor(
    private readonly begin: (signal: AbortSignal, give: (piece: Piece) => void) => Promise<Results["generate"]>,
    private readonly outer: AbortSignal | undefined,
  ) {}

  private start(): Promise<void> {
    return (this.running ??= this.run());
  }

  private async run(): Promise<void> {
    const onAbort = (): void => this.stop.abort();
    const give = (piece: Piece): void => {
      this.pieces.push(piece);
      this.wake?.();
    };
    try {
      if (this.outer?.aborted) return give({ text: "", token: null, logprob: null, finishReason: "cancelled" });
      this.outer?.addEventListener("abort", onAbort, { once: true });
      const { timings, ended } = await this.begin(this.stop.signal, give);
      this.timings = timings;
      this.ended = ended;
    } catch (value) {
      if (this.stop.signal.aborted && !(value instanceof ClosedError))
        give({ text: "", token: null, logprob: null, finishReason: "cancelled" });
      else this.error = { value };
    } finally {
      this.over = true;
      this.outer?.removeEventListener("abort", onAbort);
      this.wake?.();
    }
  }

  async next(): Promise<IteratorResult<Piece, undefined>> {
    if (!this.left) void this.start();
    for (;;) {
      if (this.left) return { done: true, value: undefined };
      const piece = this.pieces[this.given];
      if (piece) {
        this.given++;
        return { done: false, value: piece };
      }
      if (this.error) {
        this.left = true;
        throw this.error.value;
      }
      if (this.over) return { done: true, value: undefined };
      await new Promise<void>((resolve) => (this.wake = resolve));
    }
  }

  /** Leaving the loop: end the generation, and wait until the model is free. */
  async return(): Promise<IteratorResult<Piece, undefined>> {
    this.left = true;
    this.stop.abort();
    await this.running;
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async completion(): Promise<Completion> {
    await this.start();
    if (this.error) throw this.error.value;
    const kept = this.pieces.filter((piece) => piece.token !== null);
    if (this.ended) kept.pop(); // the end token is no part of the text
    return {
      text: this.pieces.map((piece) => piece.text).join(""),
      tokens: kept.map((piece) => piece.token as number),
      finishReason: this.pieces[this.pieces.length - 1]?.finishReason ?? "cancelled",
      logprobs: kept.map((piece) => piece.logprob as number),
      top: kept.flatMap((piece) => (piece.top ? [piece.top] : [])),
      timings: this.timings,
    };
  }
}

// ---- the model ----

/** Progress and warnings of a load, to the options that asked for them. */
function listenFor(options: FetchOptions): (message: FromWorker) => void {
  return (message) => {
    if (message.kind === "progress") options.onProgress?.(message.progress);
    if (message.kind === "warning") options.onWarning?.(message.message);
  };
}

class WorkerModel implements Model {
  constructor(
    private readonly channel: Channel,
    readonly info: ModelInfo,
  ) {}

  metadata(): Promise<Record<string, MetadataValue>> {
    return this.channel.request({ kind: "metadata" });
  }

  chat(messages: readonly Message[], options: ChatOptions = {}): Generation {
    return this.generate(() => ({ kind: "chat", messages: checkMessages(messages), tools: listOf(options.tools) }), options);
  }

  complete(prompt: string | Uint8Array | readonly number[], options: CompleteOptions = {}): Generation {
    const { parseSpecial = true } = options;
    return this.generate(
      () =>
        Array.isArray(prompt)
          ? { kind: "ids", ids: checkIds(prompt, this.info.vocabSize) }
          : { kind: "text", text: checkText("prompt", prompt), parseSpecial },
      options,
    );
  }

  private generate(prompt: () => Prompt, options: GenerateOptions): Generation {
    const checked = checkGenerate(options, this.info.vocabSize);
    const lora: WireLora = checkLora(options.lora);
    const made = prompt();
    return new RunningGeneration(
      (signal, give) =>
        this.channel.request({ kind: "generate", prompt: made, options: checked, lora }, signal, (message) => {
          if (message.kind === "piece") give(message.piece);
        }),
      options.signal,
    );
  }

  async applyChatTemplate(messages: readonly Message[], options: TemplateOptions = {}): Promise<string> {
    return this.channel.request({
      kind: "template",
      messages: checkMessages(messages),
      tools: listOf(options.tools),
      addGenerationPrompt: options.addGenerationPrompt ?? true,
    });
  }

  async tokenize(
    text: string | Uint8Array,
    options: { addSpecial?: boolean; parseSpecial?: boolean } = {},
  ): Promise<number[]> {
    const { addSpecial = true, parseSpecial = false } = options;
    return this.channel.request({ kind: "tokenize", text: checkText("text", text), addSpecial, parseSpecial });
  }

  async detokenize(ids: readonly number[], options: { skipSpecial?: boolean } = {}): Promise<string> {
    const checked = checkIds(ids, this.info.vocabSize);
    return this.channel.request({ kind: "detokenize", ids: checked, skipSpecial: options.skipSpecial ?? false });
  }

  async tokenBytes(id: number): Promise<Uint8Array> {
    const last = this.info.vocabSize - 1;
    return this.channel.request({ kind: "tokenBytes", token: integer("id", id, 0, last, `a token id, 0 to ${last}`) });
  }

  async logits(ids: readonly number[]): Promise<Float32Array> {
    return this.channel.request({ kind: "logits", ids: checkIds(ids, this.info.vocabSize) });
  }

  async embed(text: string): Promise<Float32Array> {
    if (typeof text !== "string") throw new TypeError(`text must be a string, not ${typeof text}`);
    return this.channel.request({ kind: "embed", text });
  }

  async loadLora(name: string, source: Source, options: LoadLoraOptions = {}): Promise<LoraInfo> {
    if (typeof name !== "string" || !name) throw new TypeError("the name of an adapter must be a non-empty string");
    const { scale = 0, signal } = options;
    checkLora({ [name]: scale });
    return this.channel.request(
      { kind: "loadLora", name, parts: checkSource(source), fetch: checkFetch(options), scale },
      signal,
      listenFor(options),
    );
  }

  async unloadLora(name: string): Promise<void> {
    return this.channel.request({ kind: "unloadLora", name });
  }

  async setLora(set: LoraSet | null): Promise<void> {
    return this.channel.request({ kind: "setLora", set: checkLora(set) ?? {} });
  }

  loras(): Promise<LoraInfo[]> {
    return this.channel.request({ kind: "loras" });
  }

  reset(): Promise<void> {
    return this.channel.request({ kind: "reset" });
  }

  usage(): Promise<Usage> {
    return this.channel.request({ kind: "usage" });
  }

  async bench(options: BenchOptions = {}): Promise<BenchRow[]> {
    const { onRow, signal, ...rest } = options;
    for (const name of ["prompt", "generate", "depth"] as const)
      rest[name]?.forEach((n) => integer(name, n, 0, 2 ** 20, "a list of integers, 0 or more"));
    if (rest.repetitions !== undefined) integer("repetitions", rest.repetitions, 1, 1000, "an integer from 1 to 1000");
    return this.channel.request({ kind: "bench", options: rest }, signal, (message) => {
      if (message.kind === "row") onRow?.(message.row);
    });
  }

  close(): Promise<void> {
    this.channel.end(new ClosedError("the model was closed: load it again"));
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

const listOf = (tools: readonly unknown[] | undefined): unknown[] | null => (tools === undefined ? null : [...tools]);

export async function load(source: Source, options: LoadOptions = {}): Promise<Model> {
  const started = performance.timeOrigin + performance.now();
  const found = await featuresHere();
  const parts = checkSource(source);
  const fetch = checkFetch(options);
  const forced = options.module;
  if (forced !== undefined && !MODULES.includes(forced))
    throw new RangeError(`module must be one of ${MODULES.join(", ")}, not ${String(forced)}`);
  let threads = options.threads ?? (forced && !forced.endsWith("-threads") ? 1 : defaultThreads(found));
  integer("threads", threads, 1, MAX_THREADS, `an integer from 1 to ${MAX_THREADS}`);
  if (!found.usable) throw new UnsupportedError(found.reason);
  if (!found.threads) threads = 1;
  if (forced?.endsWith("-threads") && !found.threads)
    throw new UnsupportedError(`the module ${forced} cannot run here: ${found.reason}`);
  if (forced && !forced.endsWith("-threads")) threads = 1;
  if (options.context !== undefined) integer("context", options.context, 1, 2 ** 31 - 1, "an integer of 1 or more");
  if (options.kvType !== undefined && options.kvType !== "f16" && options.kvType !== "f32")
    throw new RangeError(`kvType must be "f16" or "f32", not ${String(options.kvType)}`);
  options.signal?.throwIfAborted();

  const base = (globalThis as { location?: { href: string } }).location?.href ?? import.meta.url;
  const assets = options.assets ? new URL(folder(String(options.assets)), base) : new URL("./", import.meta.url);
  const channel = await Channel.open(assets.href);
  // An abort ends the worker: whatever it is doing, and with all its memory.
  const onAbort = (): void => channel.end(new ClosedError("loading was aborted"));
  options.signal?.addEventListener("abort", onAbort, { once: true });
  try {
    const call = {
      kind: "load" as const,
      parts,
      fetch,
      module: forced ?? moduleFor(found, threads),
      threads,
      context: options.context ?? 0,
      kvF32: options.kvType === "f32",
      assets: assets.href,
      word: channel.word,
      started,
    };
    const info = await channel.request(call, undefined, listenFor(options));
    return new WorkerModel(channel, info);
  } catch (error) {
    channel.end(new ClosedError("the model could not be loaded"));
    if (options.signal?.aborted) throw options.signal.reason;
    throw error;
  } finally {
    options.signal?.removeEventListener("abort", onAbort);
  }
}

const folder = (address: string): string => (address.endsWith("/") ? address : `${address}/`);
