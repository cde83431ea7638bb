/** A model in the module's memory, with its one session: generation, evaluation, adapters. Runs in the worker.
 *
 * Calls into the module do not return before they are done, and messages are only heard between them. So long prompts
 * are evaluated in pieces, and between two tokens the engine takes a breath. Where memory can be shared, an abort needs no
 * message to this worker: the module asks for a word that the page writes. */
import { AdapterError, ContextOverflowError, PyEdgeError, UnsupportedError } from "./errors.js";
import { Cancelled, Core, LARGEST_MODEL, TOKEN_CONTROL, TOKEN_END } from "./core.js";
import type { ModelFields, Pointer } from "./core.js";
import type { Call, Prompt, Results, WireGenerate, WireLora, WirePart } from "./protocol.js";
import { nameOf, readAll } from "./source.js";
import type { Loading, Target } from "./source.js";
import { ChatTemplate, plainText } from "./template.js";
import { TextStream } from "./stream.js";
import type { FinishReason, LoraInfo, Message, MetadataValue, ModelInfo, Piece, Timings, Usage } from "./types.js";

type LoadCall = Extract<Call, { kind: "load" }>;

const ALIGN = 64;
const INTERRUPTIBLE_PIECE = 64; // tokens of a prompt evaluated at once, where an abort is seen before every layer
const FEWEST = 32; // and where it is only seen in between: as many as take about PIECE_MS, but so many as are not slower
const MOST = 128;
const PIECE_MS = 100;
const LONGEST_LIST = 64;
const MAX_CONTEXT = 4096; // positions by default: models say 32768 and more, and a page is no place for that

/** Let messages in: a task of its own, without the delay of timers. */
export const breathe: () => Promise<void> = (() => {
  if (typeof setImmediate === "function") return () => new Promise((resolve) => setImmediate(resolve));
  const channel = new MessageChannel();
  const waiting: (() => void)[] = [];
  channel.port1.onmessage = () => waiting.shift()?.();
  return () =>
    new Promise((resolve) => {
      waiting.push(resolve);
      channel.port2.postMessage(null);
    });
})();

/** The file's name without its folder; of bytes, none. */
function shortName(part: WirePart | undefined): string {
  if (typeof part === "string") return part.split(/[?#]/)[0]?.split("/").pop() ?? "";
  return (part as Partial<File> | undefined)?.name ?? "";
}

/** Say in an error which file it is about. */
function naming<T>(fileName: string, open: () => T): T {
  try {
    return open();
  } catch (error) {
    if (error instanceof PyEdgeError && fileName) error.message = `${fileName}: ${error.message}`;
    throw error;
  }
}

/** A block of the module's memory that files are read into. */
class Room implements Target {
  private raw: Pointer = 0;
  at: Pointer = 0;
  readonly limit = LARGEST_MODEL;
  constructor(private readonly core: Core) {}

  reserve(bytes: number): void {
    const raw = this.raw ? this.core.realloc(this.raw, bytes + ALIGN) : this.core.alloc(bytes + ALIGN);
    if (!raw) this.core.alloc(bytes + ALIGN); // throws with a sentence
    const at = Math.ceil(raw / ALIGN) * ALIGN;
    const held = this.at - this.raw;
    if (this.raw && at - raw !== held) this.core.bytes(raw, bytes + ALIGN).copyWithin(at - raw, held, held + bytes);
    this.raw = raw;
    this.at = at;
  }
  view(offset: number, size: number): Uint8Array {
    return this.core.bytes(this.at + offset, size);
  }
  free(): void {
    if (this.raw) this.core.free(this.raw);
    this.raw = 0;
  }
}

export class Engine {
  private template: ChatTemplate | null | undefined;
  private readonly adapters = new Map<string, { handle: Pointer; info: LoraInfo }>();
  /** The set that is attached, and the one that the session's tokens were evaluated with. */
  private attached = "[]";
  private evaluatedWith = "[]";

  private constructor(
    readonly core: Core,
    readonly model: Pointer,
    readonly session: Pointer,
    readonly fields: ModelFields,
    readonly threads: number,
    readonly fileName: string,
    readonly openMs: number,
    /** Whether a call can be ended at any time. */
    readonly interruptible: boolean,
  ) {}

  static async load(
    call: LoadCall,
    loading: Loading,
  ): Promise<{ engine: Engine; info: ModelInfo }> {
    const core = await Core.create(call.module, call.assets, call.threads, call.word);
    loading.signal.throwIfAborted();
    const room = new Room(core);
    const loaded = await readAll(call.parts, room, call.fetch, loading);
    const size = loaded.parts.reduce((sum, part) => sum + part.size, 0);
    loading.progress({ phase: "open", loaded: size, total: size });
    await breathe();
    loading.signal.throwIfAborted();
    const before = performance.now();
    const fileName = shortName(call.parts[0]);
    const model = naming(fileName, () =>
      core.openModel(loaded.parts.map((part) => ({ at: room.at + part.offset, size: part.size }))),
    );
    const fields = core.modelFields(model);
    const context = call.context || Math.min(fields.contextLength, MAX_CONTEXT);
    const session = core.createSession(model, context, call.threads, call.kvF32);
    const openMs = performance.now() - before;
    const engine = new Engine(core, model, session, fields, call.threads, fileName, openMs, call.word !== null);
    return {
      engine,
      info: {
        name: fields.name || fileName.replace(/\.\w+$/, "") || fields.arch,
        arch: fields.arch,
        vocabSize: fields.vocabSize,
        contextLength: fields.contextLength,
        capacity: core.capacity(session),
        params: fields.params,
        embeddingSize: fields.embeddingSize,
        layers: fields.layers,
        fileSize: size,
        bosId: fields.bosId < 0 ? null : fields.bosId,
        eosId: fields.eosId < 0 ? null : fields.eosId,
        hasChatTemplate: fields.chatTemplate !== null,
        module: core.name,
        threads: call.threads,
        loadMs: performance.timeOrigin + performance.now() - call.started,
        openMs,
        fromCache: loaded.fromCache,
      },
    };
  }

  /** Ends the threads. Nothing may be asked of the engine afterwards. */
  close(): void {
    this.core.releaseSession(this.session);
  }

  // ---- text ----

  metadata(): Record<string, MetadataValue> {
    return this.core.metadata(this.model, LONGEST_LIST);
  }

  private chatTemplate(): ChatTemplate | null {
    if (this.template === undefined) {
      const { chatTemplate, bosId, eosId } = this.fields;
      const text = (id: number): string => this.core.tokenText(this.model, id);
      this.template =
        chatTemplate === null ? null : new ChatTemplate(chatTemplate, { bos_token: text(bosId), eos_token: text(eosId) });
    }
    return this.template;
  }

  applyTemplate(messages: Message[], tools: unknown[] | null, addGenerationPrompt: boolean): string {
    const template = this.chatTemplate();
    if (!template)
      throw new UnsupportedError(
        "the model has no chat template (tokenizer.chat_template): use complete(), or a model that was tuned for chat",
      );
    return template.render(messages, tools, addGenerationPrompt);
  }

  tokenize(text: string | Uint8Array, addSpecial: boolean, parseSpecial: boolean): number[] {
    return this.core.tokenize(this.model, text, addSpecial, parseSpecial);
  }
  detokenize(ids: number[], skipSpecial: boolean): string {
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(this.core.detokenize(this.model, ids, skipSpecial));
  }

  private promptIds(prompt: Prompt): number[] {
    if (prompt.kind === "ids") return prompt.ids;
    if (prompt.kind === "text") return this.tokenize(prompt.text, true, prompt.parseSpecial);
    if (!this.chatTemplate()) return this.tokenize(plainText(prompt.messages), true, true);
    const text = this.applyTemplate(prompt.messages, prompt.tools, true);
    // Templates that write BOS themselves must not get a second one.
    const bos = this.core.tokenText(this.model, this.fields.bosId);
    return this.tokenize(text, !(bos && text.startsWith(bos)), true);
  }

  // ---- evaluation ----

  /** Bring the session to exactly `ids`: what it holds of them stays, the rest is evaluated. Returns how many were. */
  private async advanceTo(ids: number[], signal: AbortSignal): Promise<number> {
    const { core, session } = this;
    const held = core.sessionTokens(session);
    let keep = 0;
    while (keep < held.length && keep < ids.length - 1 && held[keep] === ids[keep]) keep++;
    core.rewind(session, keep);
    let piece = this.interruptible ? INTERRUPTIBLE_PIECE : FEWEST;
    for (let at = keep; at < ids.length; ) {
      if (this.evaluatedWith !== this.attached) {
        // Other adapters: everything anew, in pieces, so that it can be ended as well.
        core.rewind(session, 0);
        this.evaluatedWith = this.attached;
        at = keep = 0;
      }
      const some = ids.slice(at, at + piece);
      const before = performance.now();
      core.advance(session, some);
      at += some.length;
      if (!this.interruptible) {
        const fit = (some.length / (performance.now() - before)) * PIECE_MS;
        piece = Math.max(FEWEST, Math.min(MOST, 16 * Math.floor(fit / 16)));
      }
      if (at < ids.length) await breathe();
      if (signal.aborted) throw new Cancelled();
    }
    return ids.length - keep;
  }

  private admit(ids: number[], maxTokens: number): void {
    const capacity = this.core.capacity(this.session);
    if (!ids.length) throw new RangeError("the prompt is empty: give at least one token to continue from");
    if (ids.length > capacity)
      throw new ContextOverflowError(
        `the prompt has ${ids.length} tokens, and ${maxTokens} more were asked for: ${ids.length + maxTokens} needed, ` +
          `but the context holds ${capacity}`,
        ids.length + maxTokens,
        capacity,
      );
  }

  /** Answer a prompt; `give` gets each piece, the last one with the finish reason. */
  async generate(
    prompt: Prompt,
    options: WireGenerate,
    lora: WireLora,
    signal: AbortSignal,
    give: (piece: Piece) => void,
  ): Promise<Results["generate"]> {
    const { core, model, session } = this;
    const started = performance.now();
    if (lora) this.setLora(lora);
    const ids = this.promptIds(prompt);
    this.admit(ids, options.maxTokens);
    const timings: Timings = {
      promptTokens: ids.length,
      evaluatedTokens: 0,
      promptMs: 0,
      decodeTokens: 0,
      decodeMs: 0,
      ttftMs: 0,
      draftedTokens: 0,
      acceptedTokens: 0,
    };
    const [drafted, accepted] = core.lookups(session);
    const sampler = core.createSampler(options);
    const text = new TextStream(options.stop);
    const last = (piece: Omit<Piece, "finishReason">, finishReason: FinishReason, ended = false): Results["generate"] => {
      give({ ...piece, finishReason });
      return { finishReason, timings, ended };
    };
    try {
      if (options.repeatPenalty !== 1) for (const id of ids) core.accept(sampler, id);
      timings.evaluatedTokens = await this.advanceTo(ids, signal);
      timings.promptMs = performance.now() - started;
      if (options.maxTokens === 0) return last({ text: "", token: null, logprob: null }, "length");
      for (let step = 1, pending = -1; ; step++) {
        const before = performance.now();
        if (this.evaluatedWith !== this.attached) await this.advanceTo(core.sessionTokens(session), signal);
        if (pending >= 0) core.step(session, pending, Math.min(options.lookup, options.maxTokens - step));
        const { id, logprob } = core.sample(session, sampler);
        const now = performance.now();
        if (pending < 0) timings.ttftMs = now - started;
        else {
          timings.decodeTokens++;
          timings.decodeMs += now - before;
        }
        const piece: Omit<Piece, "finishReason"> = { text: "", token: id, logprob };
        if (options.logprobs)
          piece.top = core
            .top(session, options.logprobs)
            .map((best) => ({ token: best.id, text: core.tokenText(model, best.id), logprob: best.logprob }));
        const attributes = core.tokenAttributes(model, id);
        if (attributes & TOKEN_END) return last({ ...piece, text: text.finish() }, "stop", true);
        core.accept(sampler, id);
        piece.text = text.push(attributes & TOKEN_CONTROL ? new Uint8Array() : core.tokenBytes(model, id));
        const full = core.position(session) >= core.capacity(session);
        if (text.stopped) return last(piece, "stop");
        if (full || step === options.maxTokens) return last({ ...piece, text: piece.text + text.finish() }, "length");
        give(piece);
        pending = id;
        await breathe();
        if (signal.aborted) throw new Cancelled();
      }
    } catch (error) {
      if (error instanceof Cancelled || signal.aborted)
        return last({ text: text.finish(), token: null, logprob: null }, "cancelled");
      throw error;
    } finally {
      core.releaseSampler(sampler);
      const [all, came] = core.lookups(session);
      timings.draftedTokens = all - drafted;
      timings.acceptedTokens = came - accepted;
    }
  }

  async logits(ids: number[], signal: AbortSignal): Promise<Float32Array> {
    this.admit(ids, 0);
    try {
      const before = ids.slice(0, -1);
      this.core.rewind(this.session, 0);
      if (before.length) await this.advanceTo(before, signal);
      return this.core.logits(this.session, ids.slice(-1), this.fields.vocabSize);
    } finally {
      this.core.rewind(this.session, 0);
    }
  }

  embed(text: string): Float32Array {
    const ids = this.tokenize(text, true, false);
    if (!ids.length) throw new RangeError("embed needs a text of at least one token");
    this.admit(ids, 0);
    const { core, session } = this;
    const n = this.fields.embeddingSize;
    core.rewind(session, 0);
    try {
      const rows = core.hidden(session, ids, n);
      const pooling = this.metadata()[`${this.fields.arch}.pooling_type`];
      const sum = new Float64Array(n);
      const taken = pooling === 2 ? rows.subarray(0, n) : pooling === 3 ? rows.subarray(-n) : rows;
      taken.forEach((value, i) => (sum[i % n] = (sum[i % n] as number) + value));
      return Float32Array.from(sum, (value) => (value * n) / taken.length);
    } finally {
      core.rewind(session, 0);
    }
  }

  reset(): void {
    this.core.rewind(this.session, 0);
  }

  usage(): Usage {
    return {
      position: this.core.position(this.session),
      capacity: this.core.capacity(this.session),
      memoryBytes: this.core.memory.buffer.byteLength,
      sessionBytes: this.core.sessionBytes(this.session),
    };
  }

  // ---- adapters ----

  /** Read an adapter. The parts of one of PEFT are the safetensors file and its adapter_config.json, in any order; the
   * latter is looked for beside an address or path where it is not given. */
  async loadLora(call: Extract<Call, { kind: "loadLora" }>, loading: Loading): Promise<LoraInfo> {
    const { core } = this;
    if (this.adapters.has(call.name))
      throw new AdapterError(`there is an adapter '${call.name}' already: unload that first, or take another name`);
    const isConfig = (part: WirePart): boolean => /\.json$/i.test(nameOf(part).split(/[?#]/)[0] ?? "");
    let config = call.parts.filter(isConfig);
    const room = new Room(core);
    const configRoom = new Room(core);
    try {
      const { parts } = await readAll(call.parts.filter((part) => !isConfig(part)), room, call.fetch, loading);
      const size = parts.reduce((sum, part) => sum + part.size, 0);
      const [first] = call.parts;
      // safetensors: eight bytes of length, then JSON
      if (!config.length && size > 8 && room.view(8, 1)[0] === 0x7b && typeof first === "string")
        config = [first.replace(/[^/]*$/, "adapter_config.json")];
      let text: Uint8Array | null = null;
      if (config.length) {
        const read = await readAll(config, configRoom, { ...call.fetch, sha256: null }, loading);
        text = configRoom.view(0, read.parts[0]?.size ?? 0).slice();
      }
      const handle = naming(shortName(first), () => core.openAdapter(this.model, room.at, size, text));
      const info: LoraInfo = { name: call.name, scale: 0, ...core.adapterInfo(handle) };
      this.adapters.set(call.name, { handle, info });
      if (call.scale) this.setLora({ ...this.attachedNow(), [call.name]: call.scale });
      return info;
    } finally {
      room.free();
      configRoom.free();
    }
  }

  unloadLora(name: string): void {
    const { handle, info } = this.adapter(name);
    if (info.scale) {
      const set = this.attachedNow();
      delete set[name];
      this.setLora(set);
    }
    this.adapters.delete(name);
    this.core.releaseAdapter(handle);
  }

  setLora(set: Record<string, number>): void {
    const wanted = Object.entries(set).map(([name, scale]) => ({ ...this.adapter(name), scale }));
    this.core.setAdapters(
      this.session,
      wanted.filter(({ scale }) => scale !== 0).map(({ handle, scale }) => ({ adapter: handle, scale })),
    );
    for (const { info } of this.adapters.values()) info.scale = set[info.name] ?? 0;
    this.attached = JSON.stringify(Object.entries(this.attachedNow()).sort());
  }

  private adapter(name: string): { handle: Pointer; info: LoraInfo } {
    const found = this.adapters.get(name);
    if (found) return found;
    throw new AdapterError(
      `there is no adapter '${name}': loaded are ${[...this.adapters.keys()].join(", ") || "none, use loadLora() first"}`,
    );
  }

  private attachedNow(): Record<string, number> {
    const all = [...this.adapters.values()].filter(({ info }) => info.scale !== 0);
    return Object.fromEntries(all.map(({ info }) => [info.name, info.scale]));
  }

  loras(): LoraInfo[] {
    return [...this.adapters.values()].map(({ info }) => ({ ...info }));
  }
}
