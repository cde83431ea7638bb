/** Files brought into memory: from the network, this browser's storage, a File or (in Node) a path. Every byte is put
 * where it stays as it comes; there is no second copy.
 *
 * A connection that drops is taken up again where the server allows ranges; what was stored of an earlier attempt is
 * used first. */
import { ModelFileError, NetworkError, OutOfMemoryError } from "./errors.js";
import { isNode } from "./features.js";
import type { WireFetch, WirePart } from "./protocol.js";
import { Sha256 } from "./sha256.js";
import * as store from "./store.js";
import type { Progress } from "./types.js";

/** Memory for one file after the other. */
export interface Target {
  /** Have room for `bytes` in all; may move what is there. */
  reserve(bytes: number): void;
  /** A view of `size` bytes at `offset`, valid until the next call of anything. */
  view(offset: number, size: number): Uint8Array;
  /** The most bytes that can be held. */
  readonly limit: number;
}

export interface Loading {
  signal: AbortSignal;
  progress(progress: Progress): void;
  warn(message: string): void;
}

export interface Loaded {
  /** Where each part begins, and its bytes. */
  parts: { offset: number; size: number }[];
  fromCache: boolean;
}

const PIECE = 16 << 20;
const ATTEMPTS = 6; // that bring nothing new, with growing pauses: half a minute
const ATTEMPTS_ANEW = 3; // where each begins from the first byte
const BUFFER = 256 << 10; // for what comes from the network
const ALIGN = 64;
const GROW = 32 << 20; // where the server does not tell how long a file is

const NOT_KEPT = "this browser's storage is full or refused, so the file will be fetched again next time";

const isUrl = (part: WirePart): part is string => typeof part === "string" && /^[a-z][a-z0-9+.-]+:/i.test(part);
const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(2)} GB`;

/** Read all parts, one after the other without a gap: parts may be pieces of one file. Those that are GGUF files of their
 * own are moved to aligned places at the end. */
export async function readAll(parts: WirePart[], target: Target, fetch: WireFetch, loading: Loading): Promise<Loaded> {
  const reader = new Reader(target, fetch, loading, parts.length);
  for (const part of parts) await reader.read(part);
  return reader.finish();
}

class Reader {
  private end = 0; // bytes of the target that are taken
  private reserved = 0;
  private known = 0; // bytes of all parts whose size is known, and of those that were read
  private unknown: number; // parts that were not begun
  private lastTold = 0;
  private fromCache = true;
  private readonly parts: { offset: number; size: number }[] = [];
  private readonly whole: Sha256 | null; // over all parts, where a sum was asked for

  constructor(
    private readonly target: Target,
    private readonly options: WireFetch,
    private readonly loading: Loading,
    count: number,
  ) {
    this.unknown = count;
    this.whole = options.sha256 === null ? null : new Sha256();
  }

  async read(part: WirePart): Promise<void> {
    this.loading.signal.throwIfAborted();
    this.unknown--;
    this.parts.push({ offset: this.end, size: 0 });
    if (part instanceof Uint8Array) {
      this.expect(part.length);
      for (let at = 0; at < part.length; at += PIECE) this.put(part.subarray(at, at + PIECE), "read");
      this.fromCache = false;
    } else if (part instanceof Blob) await this.readBlob(part);
    else if (isNode() && (!isUrl(part) || part.startsWith("file:"))) await this.readPath(part);
    else await this.readUrl(part);
    if (this.current.size === 0) throw new ModelFileError(`${nameOf(part)} is empty (0 bytes): was its download interrupted?`);
  }

  finish(): Loaded {
    if (this.whole) {
      const found = this.whole.digest();
      if (found !== this.options.sha256)
        throw new ModelFileError(
          `the file's SHA-256 is ${found}, but ${this.options.sha256} was expected: it is damaged, or another version`,
        );
    }
    this.align();
    return { parts: this.parts, fromCache: this.fromCache };
  }

  private align(): void {
    const isGguf = this.parts.map(({ offset, size }) => {
      const head = this.target.view(offset, Math.min(size, 4));
      return String.fromCharCode(...head) === "GGUF";
    });
    const whole: { offset: number; size: number }[] = [];
    this.parts.forEach((part, i) => {
      const last = whole[whole.length - 1];
      if (last && !isGguf[i]) last.size += part.size;
      else whole.push({ ...part });
    });
    this.grow(this.end + ALIGN * whole.length);
    const all = this.target.view(0, this.end + ALIGN * whole.length);
    for (let i = whole.length - 1, room = ALIGN * i; i > 0; i--, room -= ALIGN) {
      const part = whole[i] as { offset: number; size: number };
      const to = Math.ceil(part.offset / ALIGN) * ALIGN + room;
      all.copyWithin(to, part.offset, part.offset + part.size);
      part.offset = to;
    }
    this.parts.splice(0, this.parts.length, ...whole);
  }

  private get current(): { offset: number; size: number } {
    return this.parts[this.parts.length - 1] as { offset: number; size: number };
  }

  /** This part will have `bytes` in all. */
  private expect(bytes: number): void {
    this.known = this.parts.slice(0, -1).reduce((sum, part) => sum + part.size, 0) + bytes;
    const needed = this.current.offset + bytes + ALIGN * this.parts.length;
    if (needed > this.target.limit)
      throw new OutOfMemoryError(
        `the file has ${gigabytes(this.known)}, but a browser's 32-bit WebAssembly holds at most ` +
          `${gigabytes(this.target.limit)} with everything: take a smaller model or a stronger quantisation`,
      );
    this.grow(needed);
  }

  private grow(bytes: number): void {
    if (bytes <= this.reserved) return;
    this.target.reserve(bytes);
    this.reserved = bytes;
  }

  /** Have a view for the next `size` bytes of this part. */
  private place(size: number): Uint8Array {
    if (this.end + size > this.target.limit) this.expect(this.current.size + size); // tells what is wrong
    if (this.end + size > this.reserved) this.grow(Math.min(this.target.limit, this.end + Math.max(size, GROW)));
    return this.target.view(this.end, size);
  }

  /** `size` bytes have been put where place() told. */
  private placed(size: number, phase: Progress["phase"]): void {
    this.whole?.update(this.target.view(this.end, size));
    this.end += size;
    this.current.size += size;
    this.tell(phase);
  }

  private put(data: Uint8Array, phase: Progress["phase"]): void {
    this.place(data.length).set(data);
    this.placed(data.length, phase);
  }

  /** Forget what was read of this part. */
  private restart(): void {
    this.end = this.current.offset;
    this.current.size = 0;
  }

  private tell(phase: Progress["phase"]): void {
    const now = Date.now();
    const loaded = this.parts.reduce((sum, part) => sum + part.size, 0);
    const total = this.unknown === 0 && this.known >= loaded ? this.known : null;
    if (now - this.lastTold < 50 && loaded !== total) return;
    this.lastTold = now;
    this.loading.progress({ phase, loaded, total });
  }

  private async readBlob(blob: Blob): Promise<void> {
    this.fromCache = false;
    this.expect(blob.size);
    for (let at = 0; at < blob.size; at += PIECE) {
      let piece: ArrayBuffer;
      try {
        piece = await blob.slice(at, at + PIECE).arrayBuffer();
      } catch (cause) {
        throw new ModelFileError(`${nameOf(blob)} could not be read: it was moved or changed, choose it again`, { cause });
      }
      this.loading.signal.throwIfAborted();
      this.put(new Uint8Array(piece), "read");
    }
  }

  private async readPath(path: string): Promise<void> {
    this.fromCache = false;
    const { open } = await import("node:fs/promises");
    let file;
    try {
      file = await open(path.startsWith("file:") ? new URL(path) : path);
    } catch (cause) {
      throw new ModelFileError(`${path} could not be opened (${(cause as { code?: string }).code}): check the path`, { cause });
    }
    try {
      const stat = await file.stat();
      if (!stat.isFile()) throw new ModelFileError(`${path} is no regular file; a model file is needed`);
      this.expect(stat.size);
      for (let at = 0; at < stat.size; ) {
        this.loading.signal.throwIfAborted();
        const { bytesRead } = await file.read(this.place(Math.min(PIECE, stat.size - at)), 0, undefined, at);
        if (!bytesRead) throw new ModelFileError(`${path} became shorter while it was read`);
        this.placed(bytesRead, "read");
        at += bytesRead;
      }
    } finally {
      await file.close();
    }
  }

  // ---- the network, and what is stored of it ----

  private async readUrl(url: string): Promise<void> {
    const caching = this.options.cache && !isNode();
    let begun: { version: string | null; size: number; hash: Sha256 } | null = null;
    const kept = caching ? await store.find(url) : null;
    if (kept) {
      const usable = kept.record.complete || (kept.record.version !== null && kept.size > 0);
      const hash = new Sha256();
      if (usable)
        try {
          this.expect(kept.record.complete ? kept.size : Math.max(kept.size, kept.record.total ?? 0));
          await kept.read(
            (_at, size) => this.place(size),
            (size) => {
              if (!kept.record.complete) hash.update(this.target.view(this.end, size));
              this.placed(size, "cache");
            },
            this.loading.signal,
          );
          if (!kept.record.complete) begun = { version: kept.record.version, size: kept.size, hash };
        } catch (error) {
          this.loading.signal.throwIfAborted();
          if (error instanceof OutOfMemoryError) throw error;
          this.restart(); // unreadable: as if it were not there
        }
      kept.close();
      if (kept.record.complete && this.current.size === kept.size) {
        if (this.options.sha256 === null || this.unknown > 0 || this.parts.length > 1) return;
        if (kept.record.sha256 === this.options.sha256) return;
        await store.discard(url); // another version than the one that is wanted
        this.restart();
      }
    }
    this.fromCache = false;
    await this.download(url, caching, begun);
  }

  private async download(
    url: string,
    caching: boolean,
    begun: { version: string | null; size: number; hash: Sha256 } | null,
  ): Promise<void> {
    const { signal } = this.loading;
    let version = begun?.version ?? null;
    let hash = begun?.hash ?? new Sha256();
    let writer: store.Writer | null = null;
    let total: number | null = null;
    let ranges = true;
    try {
      for (let attempt = 0; ; attempt++) {
        const before = this.current.size;
        try {
          const response = await this.request(url, before, version, signal);
          const answered = versionOf(response);
          if (before && response.status !== 206) {
            // Another version, or a server without ranges: from the beginning.
            ranges = answered !== version;
            await writer?.pause();
            writer = null;
            this.restart();
            hash = new Sha256();
          }
          version = answered;
          total = lengthOf(response, this.current.size);
          if (total !== null) this.expect(total);
          if (caching && !writer) {
            writer = await store.create(url, { version, total }, this.current.size);
            if (!writer) {
              caching = false;
              this.loading.warn(NOT_KEPT);
            }
          }
          for await (const data of body(response)) {
            signal.throwIfAborted();
            this.put(data, "fetch");
            if (caching) hash.update(data);
            if (writer && !(await writer.append(data))) {
              writer = null;
              caching = false;
              this.loading.warn(NOT_KEPT);
            }
          }
          if (total !== null && this.current.size < total) throw new Dropped();
          break;
        } catch (error) {
          signal.throwIfAborted();
          if (!(error instanceof TypeError || error instanceof Dropped || (error as Error).name === "AbortError")) throw error;
          if (ranges && this.current.size > before) attempt = 0; // it goes forward
          const most = !this.current.size ? 2 : ranges ? ATTEMPTS : ATTEMPTS_ANEW;
          if (attempt + 1 >= most) throw new NetworkError(this.dropped(url, total, ranges, caching), undefined, { cause: error });
          await pause(500 * 2 ** attempt, signal);
        }
      }
      if (writer && !(await writer.finish(hash.digest()))) this.loading.warn(NOT_KEPT);
    } catch (error) {
      await writer?.pause();
      throw error;
    }
  }

  /** Why a download is given up, and what the caller may do. */
  private dropped(url: string, total: number | null, ranges: boolean, kept: boolean): string {
    const { size } = this.current;
    if (!size)
      return (
        `${url} could not be fetched: check the address and the connection, and that its server allows requests ` +
        "from other pages (CORS)"
      );
    const where = `the connection dropped after ${size} of ${total ?? "unknown"} bytes`;
    if (!ranges)
      return (
        `${where}, each time, and the server can only begin anew: load again on a steadier connection, or ` +
        "download the file and choose it here"
      );
    return `${where}, and could not be taken up again: load again${kept ? " to go on from there" : ""}`;
  }

  private async request(url: string, from: number, version: string | null, signal: AbortSignal): Promise<Response> {
    const headers: Record<string, string> = { ...this.options.headers };
    if (from) {
      headers["Range"] = `bytes=${from}-`;
      if (version) headers["If-Range"] = version;
    }
    const response = await fetch(url, { headers, signal, ...(this.options.cache && !isNode() ? { cache: "no-store" as const } : {}) });
    if (response.ok) return response;
    await response.body?.cancel();
    if (response.status === 416 && from) return this.request(url, 0, null, signal);
    if (response.status >= 500 || response.status === 429) throw new Dropped(`${response.status}`);
    throw new NetworkError(
      `${url} could not be fetched: the server answered ${response.status} ${response.statusText}`.trimEnd(),
      response.status,
    );
  }
}

class Dropped extends Error {}

export function nameOf(part: WirePart): string {
  if (typeof part === "string") return part;
  return part instanceof Uint8Array ? "the file" : ((part as Partial<File>).name ?? "the file");
}

/** What a resumed request must agree with: If-Range wants a strong tag. */
function versionOf(response: Response): string | null {
  const tag = response.headers.get("etag");
  return tag !== null && !tag.startsWith("W/") ? tag : response.headers.get("last-modified");
}

/** Bytes of the whole file, where the answer tells: an encoded body is longer or shorter than what it becomes. */
function lengthOf(response: Response, from: number): number | null {
  if ((response.headers.get("content-encoding") ?? "identity") !== "identity") return null;
  const length = Number(response.headers.get("content-length") ?? NaN);
  if (!Number.isFinite(length)) return null;
  return response.status === 206 ? from + length : length;
}

/** A body piece by piece; a piece is valid until the next one is asked for. They all come in one buffer where the engine
 * can do that: a new one each time would be collected late, and cost as much memory as the file itself. */
async function* body(response: Response): AsyncGenerator<Uint8Array> {
  const stream = response.body;
  if (!stream) return;
  let reader: ReadableStreamBYOBReader | ReadableStreamDefaultReader<Uint8Array>;
  try {
    reader = stream.getReader({ mode: "byob" });
  } catch {
    reader = stream.getReader();
  }
  let buffer = new ArrayBuffer(BUFFER);
  try {
    for (;;) {
      const { done, value } =
        reader instanceof ReadableStreamDefaultReader ? await reader.read() : await reader.read(new Uint8Array(buffer));
      if (value?.length) yield value;
      if (done) return;
      buffer = value?.buffer as ArrayBuffer;
    }
  } finally {
    reader.cancel().catch(() => undefined);
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(done, ms);
    function done(): void {
      signal.removeEventListener("abort", stop);
      resolve();
    }
    function stop(): void {
      clearTimeout(timer);
      reject(signal.reason as Error);
    }
    signal.addEventListener("abort", stop, { once: true });
  });
}
