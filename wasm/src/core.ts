/** The compiled module, with types: one `Core` an instance. Pointers are numbers; memory may grow and move its buffer at
 * any call, so views are made anew for each use and never kept. */
import {
  AdapterError,
  ContextOverflowError,
  ModelFileError,
  OutOfMemoryError,
  PyEdgeError,
  UnsupportedError,
} from "./errors.js";
import { END_ALL } from "./protocol.js";
import type { MetadataValue, ModuleName } from "./types.js";

export type Pointer = number;

interface Exports {
  wasmMemory: WebAssembly.Memory;
  [name: `_${string}`]: (...args: (number | bigint)[]) => number;
}

/** Thrown by calls that were interrupted; callers turn it into the finish reason "cancelled". */
export class Cancelled extends Error {}

/** pe_status in csrc/pyedge.h */
const STATUS = { OK: 0, ARG: 1, IO: 2, FORMAT: 3, UNSUPPORTED: 4, NOMEM: 5, CONTEXT: 6, CANCELLED: 7 } as const;

export const TOKEN_CONTROL = 2;
export const TOKEN_END = 32;
const TOKENIZE_SPECIAL = 1;
const TOKENIZE_PARSE = 2;

/** All of WebAssembly's 32-bit memory, less what session, tables and code need at least. */
export const LARGEST_MODEL = 4 * 2 ** 30 - 192 * 2 ** 20;

export interface ModelFields {
  name: string;
  arch: string;
  vocabSize: number;
  contextLength: number;
  embeddingSize: number;
  layers: number;
  params: number;
  bosId: number;
  eosId: number;
  chatTemplate: string | null;
}

export class Core {
  /** Room for results of calls, and a little text. */
  private readonly scratch: Pointer;

  private constructor(
    private readonly module: Exports,
    readonly name: ModuleName,
    /** The call that is evaluated for; 0: none that could be ended. */
    private readonly caller: { id: number },
  ) {
    this.scratch = this.alloc(1024);
  }

  /** `word`: see Call in protocol.ts. */
  static async create(
    name: ModuleName,
    assets: string,
    threads: number,
    word: Int32Array<SharedArrayBuffer> | null,
  ): Promise<Core> {
    const url = new URL(`pyedge-${name}.mjs`, assets).href;
    type Factory = { default(settings: object): Promise<Exports> };
    let factory: Factory;
    try {
      factory = (await import(/* @vite-ignore */ /* webpackIgnore: true */ url)) as Factory;
    } catch (cause) {
      throw new UnsupportedError(
        `the module could not be loaded from ${url}: put the files of the package's dist folder there, or pass 'assets'`,
        { cause },
      );
    }
    const quiet = (): void => undefined;
    // Asked by the module before each layer.
    const caller = { id: 0 };
    const interrupted = (): boolean => {
      const end = word === null ? 0 : Atomics.load(word, 0);
      return end !== 0 && (end === caller.id || end === END_ALL);
    };
    try {
      const settings = { poolSize: threads - 1, print: quiet, printErr: quiet, interrupted };
      return new Core(await factory.default(settings), name, caller);
    } catch (cause) {
      throw new UnsupportedError(
        `the module ${name} could not be started: ${cause instanceof Error ? cause.message.split(". Build")[0] : cause}`,
        { cause },
      );
    }
  }

  // ---- memory ----

  get memory(): WebAssembly.Memory {
    return this.module.wasmMemory;
  }
  bytes(at: Pointer, size: number): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.memory.buffer as ArrayBuffer, at, size);
  }
  private ints(at: Pointer, count: number): Int32Array {
    return new Int32Array(this.memory.buffer, at, count);
  }
  private floats(at: Pointer, count: number): Float32Array {
    return new Float32Array(this.memory.buffer, at, count);
  }
  private doubles(at: Pointer, count: number): Float64Array {
    return new Float64Array(this.memory.buffer, at, count);
  }
  private pointer(at: Pointer): Pointer {
    return (this.ints(at, 1)[0] as number) >>> 0;
  }

  alloc(size: number): Pointer {
    const at = (this.module._malloc as (n: number) => number)(size) >>> 0;
    if (!at) throw new OutOfMemoryError(`the browser refused ${size} more bytes: close other tabs, or take a smaller model`);
    return at;
  }
  /** 0 where it is refused. The content moves along. */
  realloc(at: Pointer, size: number): Pointer {
    return (this.module._realloc as (p: number, n: number) => number)(at, size) >>> 0;
  }
  free(at: Pointer): void {
    (this.module._free as (p: number) => number)(at);
  }

  private text(at: Pointer, size?: number): string {
    if (!at) return "";
    if (size === undefined) {
      const all = new Uint8Array(this.memory.buffer);
      size = all.indexOf(0, at) - at;
    }
    return new TextDecoder().decode(this.bytes(at, size).slice()); // a copy: shared memory cannot be decoded
  }

  /** Bytes, ids or floats, put into memory for the time of one call. */
  private lend<T>(data: Uint8Array | Int32Array, use: (at: Pointer) => T): T {
    const at = this.alloc(Math.max(data.byteLength, 1));
    try {
      this.bytes(at, data.byteLength).set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      return use(at);
    } finally {
      this.free(at);
    }
  }
  private borrow<T>(size: number, use: (at: Pointer) => T): T {
    const at = this.alloc(Math.max(size, 1));
    try {
      return use(at);
    } finally {
      this.free(at);
    }
  }

  // ---- calls ----

  private call(name: string, ...args: (number | bigint)[]): number {
    const run = this.module[`_${name}`];
    if (!run) throw new UnsupportedError(`this build has no ${name}`);
    return run(...args);
  }

  /** A call that returns a status. */
  private check(name: string, ...args: (number | bigint)[]): void {
    const status = this.call(name, ...args);
    if (status !== STATUS.OK) throw this.failure(status, name);
  }

  /** What is evaluated from now on is done for call `id`. */
  begin(id: number): void {
    this.caller.id = id;
  }

  private failure(status: number, call: string): Error {
    const message = this.text(this.call("pe_last_error") >>> 0);
    switch (status) {
      case STATUS.CANCELLED:
        return new Cancelled(message);
      case STATUS.NOMEM:
        return new OutOfMemoryError(`${message}: close other tabs, or take a smaller model or context`);
      case STATUS.CONTEXT:
        return new ContextOverflowError(message);
      case STATUS.UNSUPPORTED:
        return new UnsupportedError(message);
      case STATUS.FORMAT:
      case STATUS.IO:
        return call.startsWith("pe_adapter") || call.startsWith("pew_adapter")
          ? new AdapterError(message)
          : new ModelFileError(message);
      case STATUS.ARG:
        return new RangeError(message);
      default:
        return new PyEdgeError(message);
    }
  }

  private made(name: string, ...args: (number | bigint)[]): Pointer {
    this.check(name, ...args, this.scratch);
    return this.pointer(this.scratch);
  }

  // ---- model ----

  /** Of one file, or of the files of a split model in order; the memory must stay. */
  openModel(parts: { at: Pointer; size: number }[]): Pointer {
    const table = new Uint32Array([...parts.map((part) => part.at), ...parts.map((part) => part.size)]);
    return this.lend(new Uint8Array(table.buffer), (at) =>
      this.made("pe_model_open_parts", at, at + 4 * parts.length, parts.length),
    );
  }

  modelFields(model: Pointer): ModelFields {
    this.call("pew_model_info", model, this.scratch);
    const [name, arch, vocab, context, embd, layers, , , , params, bos, eos, , template] = this.doubles(
      this.scratch,
      14,
    ).slice() as unknown as number[] as [number, number, ...number[]];
    return {
      name: this.text(name),
      arch: this.text(arch),
      vocabSize: vocab ?? 0,
      contextLength: context ?? 0,
      embeddingSize: embd ?? 0,
      layers: layers ?? 0,
      params: params ?? 0,
      bosId: bos ?? -1,
      eosId: eos ?? -1,
      chatTemplate: template ? this.text(template) : null,
    };
  }

  /** Bytes of all tensors, and of the matrices of each type. */
  tensorTypes(model: Pointer): { bytes: number; types: [name: string, bytes: number][] } {
    const room = 40;
    return this.borrow(8 * (1 + 2 * room), (at) => {
      const n = this.call("pew_model_tensor_types", model, at, room);
      const out = this.doubles(at, 1 + 2 * n).slice();
      const types = Array.from({ length: n }, (_, i): [string, number] => [
        this.text(out[1 + 2 * i] as number),
        out[2 + 2 * i] as number,
      ]);
      return { bytes: out[0] as number, types };
    });
  }

  /** All keys; of lists at most `most` items. */
  metadata(model: Pointer, most: number): Record<string, MetadataValue> {
    const all: Record<string, MetadataValue> = {};
    const count = this.call("pe_model_meta_count", model);
    for (let i = 0; i < count; i++) {
      this.check("pew_model_meta", model, i, this.scratch);
      const [key, type, , items] = this.doubles(this.scratch, 4) as unknown as [number, number, number, number];
      const name = this.text(key);
      if (type !== META_ARRAY) {
        all[name] = this.metaValue();
        continue;
      }
      const list: MetadataValue[] = [];
      for (let j = 0; j < Math.min(items, most); j++) {
        this.check("pew_model_meta_item", model, i, j, this.scratch);
        list.push(this.metaValue());
      }
      all[name] = list;
    }
    return all;
  }

  private metaValue(): MetadataValue {
    const [, type, , , value, size, low, high] = this.doubles(this.scratch, 8).slice() as unknown as number[] as [
      number, number, number, number, number, number, number, number,
    ]; // prettier-ignore
    if (type === META_STRING) return this.text(value, size);
    if (type === META_BOOL) return value !== 0;
    if ((type === META_U64 || type === META_I64) && Math.abs(value) > Number.MAX_SAFE_INTEGER) {
      const bits = (BigInt(high) << 32n) | BigInt(low);
      return type === META_I64 ? BigInt.asIntN(64, bits) : bits;
    }
    return value;
  }

  // ---- text ----

  tokenize(model: Pointer, text: string | Uint8Array, addSpecial: boolean, parseSpecial: boolean): number[] {
    const bytes = typeof text === "string" ? new TextEncoder().encode(text) : text;
    const flags = (addSpecial ? TOKENIZE_SPECIAL : 0) | (parseSpecial ? TOKENIZE_PARSE : 0);
    return this.lend(bytes, (at) => {
      let room = bytes.length + 16; // a token is a byte at least, but for the special ones around
      for (;;) {
        const ids = this.borrow(4 * room, (out) => {
          this.check("pe_tokenize", model, at, bytes.length, flags, out, room, this.scratch);
          const n = this.pointer(this.scratch);
          return n > room ? n : Array.from(this.ints(out, n));
        });
        if (typeof ids !== "number") return ids;
        room = ids;
      }
    });
  }

  detokenize(model: Pointer, ids: number[], skipSpecial: boolean): Uint8Array<ArrayBuffer> {
    return this.lend(Int32Array.from(ids), (at) => {
      let room = 16 * ids.length + 64;
      for (;;) {
        const bytes = this.borrow(room, (out) => {
          this.check("pe_detokenize", model, at, ids.length, skipSpecial ? 1 : 0, out, room, this.scratch);
          const n = this.pointer(this.scratch);
          return n > room ? n : this.bytes(out, n).slice();
        });
        if (typeof bytes !== "number") return bytes;
        room = bytes;
      }
    });
  }

  tokenBytes(model: Pointer, id: number): Uint8Array<ArrayBuffer> {
    this.check("pe_token_bytes", model, id, this.scratch, this.scratch + 4);
    return this.bytes(this.pointer(this.scratch), this.pointer(this.scratch + 4)).slice();
  }
  tokenText(model: Pointer, id: number): string {
    return id < 0 ? "" : new TextDecoder().decode(this.tokenBytes(model, id));
  }
  tokenAttributes(model: Pointer, id: number): number {
    return this.call("pe_token_attributes", model, id);
  }

  // ---- session ----

  createSession(model: Pointer, context: number, threads: number, kvF32: boolean): Pointer {
    return this.made("pew_session_create", model, context, threads, kvF32 ? 1 : 0);
  }
  releaseSession(session: Pointer): void {
    this.call("pe_session_release", session);
  }
  position(session: Pointer): number {
    return this.call("pe_session_position", session);
  }
  capacity(session: Pointer): number {
    return this.call("pe_session_capacity", session);
  }
  sessionTokens(session: Pointer): number[] {
    return Array.from(this.ints(this.call("pe_session_tokens", session) >>> 0, this.position(session)));
  }
  sessionBytes(session: Pointer): number {
    return this.call("pew_session_bytes", session);
  }
  /** Bytes that evaluating one token at `position` reads. */
  tokenReadBytes(session: Pointer, position: number): number {
    return this.call("pew_session_token_bytes", session, position);
  }
  readWeights(session: Pointer): void {
    this.check("pe_session_read_weights", session, 0);
  }
  rewind(session: Pointer, position: number): void {
    this.check("pe_session_rewind", session, position);
  }
  /** Evaluate, and keep the logits of the last token in the session. */
  advance(session: Pointer, ids: number[]): void {
    this.lend(Int32Array.from(ids), (at) => this.check("pe_session_eval", session, at, ids.length, ids.length, 0));
  }
  step(session: Pointer, id: number, ahead: number): void {
    this.check("pe_session_step", session, id, ahead);
  }
  /** Evaluate, and give the logits of the last token. */
  logits(session: Pointer, ids: number[], vocabSize: number): Float32Array<ArrayBuffer> {
    return this.lend(Int32Array.from(ids), (at) =>
      this.borrow(4 * vocabSize, (out) => {
        this.check("pe_session_eval", session, at, ids.length, ids.length - 1, out);
        return this.floats(out, vocabSize).slice() as Float32Array<ArrayBuffer>;
      }),
    );
  }
  /** Hidden states [ids, embeddingSize]. */
  hidden(session: Pointer, ids: number[], embeddingSize: number): Float32Array {
    return this.lend(Int32Array.from(ids), (at) =>
      this.borrow(4 * ids.length * embeddingSize, (out) => {
        this.check("pe_session_hidden", session, at, ids.length, out);
        return this.floats(out, ids.length * embeddingSize).slice();
      }),
    );
  }
  lookups(session: Pointer): [drafted: number, accepted: number] {
    this.call("pew_session_lookups", session, this.scratch);
    const [drafted, accepted] = this.doubles(this.scratch, 2);
    return [drafted ?? 0, accepted ?? 0];
  }

  // ---- adapters ----

  /** `config`: the text of adapter_config.json, for safetensors. The memory is not needed afterwards. */
  openAdapter(model: Pointer, at: Pointer, size: number, config: Uint8Array | null): Pointer {
    if (!config) return this.made("pe_adapter_open_memory", model, at, size, 0, 0);
    return this.lend(config, (text) => this.made("pe_adapter_open_memory", model, at, size, text, config.length));
  }
  releaseAdapter(adapter: Pointer): void {
    this.call("pe_adapter_release", adapter);
  }
  adapterInfo(adapter: Pointer): { rank: number; bytes: number } {
    // pe_adapter_info: a pointer, two 32-bit numbers, then 64-bit ones: values, bytes
    this.call("pe_adapter_get_info", adapter, this.scratch);
    return { rank: this.pointer(this.scratch + 4), bytes: this.pointer(this.scratch + 24) };
  }
  /** Exactly these, in place of what was attached. */
  setAdapters(session: Pointer, set: { adapter: Pointer; scale: number }[]): void {
    const handles = Uint32Array.from(set, ({ adapter }) => adapter);
    const scales = Float32Array.from(set, ({ scale }) => scale);
    this.lend(new Uint8Array(handles.buffer), (at) =>
      this.lend(new Uint8Array(scales.buffer), (values) =>
        this.check("pe_session_set_adapters", session, at, values, set.length),
      ),
    );
  }

  // ---- sampling ----

  createSampler(o: {
    temperature: number;
    topK: number;
    topP: number;
    minP: number;
    repeatPenalty: number;
    seed: bigint | null;
    logitBias: [number, number][];
  }): Pointer {
    const bias = new Uint8Array(8 * o.logitBias.length); // pe_logit_bias: int32 id, float bias
    const view = new DataView(bias.buffer);
    o.logitBias.forEach(([id, value], i) => {
      view.setInt32(8 * i, id, true);
      view.setFloat32(8 * i + 4, value, true);
    });
    const seed = o.seed ?? 0n;
    return this.lend(bias, (at) =>
      this.made(
        "pew_sampler_create", o.temperature, o.topK, o.topP, o.minP, o.repeatPenalty, o.seed === null ? 0 : 1,
        Number(seed & 0xffffffffn), Number(seed >> 32n), at, o.logitBias.length,
      ), // prettier-ignore
    );
  }
  releaseSampler(sampler: Pointer): void {
    this.call("pe_sampler_release", sampler);
  }
  accept(sampler: Pointer, id: number): void {
    this.call("pe_sampler_accept", sampler, id);
  }
  sample(session: Pointer, sampler: Pointer): { id: number; logprob: number } {
    this.check("pe_session_sample", session, sampler, this.scratch, this.scratch + 4);
    return {
      id: this.ints(this.scratch, 1)[0] as number,
      logprob: this.floats(this.scratch + 4, 1)[0] as number,
    };
  }
  top(session: Pointer, count: number): { id: number; logprob: number }[] {
    return this.borrow(8 * count, (at) => {
      this.check("pe_session_top", session, count, at, at + 4 * count);
      const ids = this.ints(at, count);
      const logprobs = this.floats(at + 4 * count, count);
      return Array.from(ids, (id, i) => ({ id, logprob: logprobs[i] as number }));
    });
  }
}

/** pe_meta_type in csrc/pyedge.h */
const META_BOOL = 7;
const META_STRING = 8;
const META_ARRAY = 9;
const META_U64 = 10;
const META_I64 = 11;
