/** What was fetched, kept in this browser: files in the origin's private file system, or in the Cache API where that is
 * missing. A file is written as it comes, and may be taken up again where it stopped; it counts as whole only when its
 * record says so, which is written last.
 *
 * Nothing here may make a load fail: without storage there is no cache, and that is all. */
import type { CacheEntry } from "./types.js";

const FOLDER = "pyedge";

interface FileRecord extends CacheEntry {
  /** ETag or Last-Modified: what a resumed request must agree with. */
  version: string | null;
  /** Bytes of the whole file, as the server told. */
  total: number | null;
  complete: boolean;
}

/** Synchronous access to a file of the origin's private file system; only workers have it. */
interface SyncHandle {
  read(into: Uint8Array, options: { at: number }): number;
  write(data: Uint8Array, options: { at: number }): number;
  getSize(): number;
  truncate(size: number): void;
  flush(): void;
  close(): void;
}
type FileHandle = FileSystemFileHandle & {
  createSyncAccessHandle?(options?: { mode: string }): Promise<SyncHandle>;
};

export interface Stored {
  record: Readonly<FileRecord>;
  /** Bytes that are there: all of them, or the beginning. */
  size: number;
  /** `into(offset, size)` gives the place to write to; a piece at a time. */
  read(into: (offset: number, size: number) => Uint8Array, piece: (bytes: number) => void, signal: AbortSignal): Promise<void>;
  close(): void;
}

export interface Writer {
  /** False: no room or no permission; what was written is gone, and nothing more is taken. */
  append(data: Uint8Array): Promise<boolean>;
  /** The file is whole. False: it could not be kept after all. */
  finish(sha256: string): Promise<boolean>;
  /** Keep what is there, to go on from. */
  pause(): Promise<void>;
}

async function folder(create: boolean): Promise<FileSystemDirectoryHandle | null> {
  try {
    const root = await navigator.storage.getDirectory();
    return await root.getDirectoryHandle(FOLDER, { create });
  } catch {
    return null; // not supported, refused (private windows), or not there
  }
}

async function nameOf(url: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(url));
  return Array.from(new Uint8Array(digest).subarray(0, 16), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function readRecord(directory: FileSystemDirectoryHandle, name: string): Promise<FileRecord | null> {
  try {
    const file = await (await directory.getFileHandle(`${name}.json`)).getFile();
    const record = JSON.parse(await file.text()) as FileRecord;
    return typeof record.url === "string" && typeof record.bytes === "number" ? record : null;
  } catch {
    return null;
  }
}

async function writeRecord(directory: FileSystemDirectoryHandle, name: string, record: FileRecord): Promise<void> {
  const text = new TextEncoder().encode(JSON.stringify(record));
  const handle = (await directory.getFileHandle(`${name}.json`, { create: true })) as FileHandle;
  const access = await handle.createSyncAccessHandle?.();
  if (!access) throw new Error("no synchronous access");
  try {
    access.truncate(0);
    access.write(text, { at: 0 });
    access.flush();
  } finally {
    access.close();
  }
}

async function remove(directory: FileSystemDirectoryHandle, name: string): Promise<void> {
  for (const ending of [".json", ".bin"]) await directory.removeEntry(name + ending).catch(() => undefined);
}

const PIECE = 8 << 20;

/** What is kept of a URL, whole or begun. */
export async function find(url: string): Promise<Stored | null> {
  const directory = await folder(false);
  if (!directory) return findCached(url);
  const name = await nameOf(url);
  const record = await readRecord(directory, name);
  if (!record) return null;
  try {
    const handle = (await directory.getFileHandle(`${name}.bin`)) as FileHandle;
    const file = await handle.getFile();
    if (record.complete && file.size !== record.bytes) {
      await remove(directory, name);
      return null;
    }
    // Reading beside other tabs needs a mode that older browsers do not have: those read the file in pieces instead.
    const access = await handle.createSyncAccessHandle?.({ mode: "read-only" }).catch(() => null);
    return {
      record,
      size: file.size,
      async read(into, piece, signal) {
        for (let at = 0; at < file.size; at += PIECE) {
          signal.throwIfAborted();
          const size = Math.min(PIECE, file.size - at);
          if (access) {
            if (access.read(into(at, size), { at }) !== size) throw new Error("the stored file is shorter than it was");
            await new Promise((resolve) => setTimeout(resolve)); // let an abort in
          } else {
            const data = new Uint8Array(await file.slice(at, at + size).arrayBuffer());
            into(at, size).set(data);
          }
          piece(size);
        }
      },
      close: () => access?.close(),
    };
  } catch {
    return null;
  }
}

/** A file to be written from its beginning, or from `resume` on. Null: not possible here. */
export async function create(
  url: string,
  facts: { version: string | null; total: number | null },
  resume: number,
): Promise<Writer | null> {
  const directory = await folder(true);
  if (!directory) return createCached(url);
  try {
    const name = await nameOf(url);
    const handle = (await directory.getFileHandle(`${name}.bin`, { create: true })) as FileHandle;
    const access = await handle.createSyncAccessHandle?.();
    if (!access) return createCached(url);
    access.truncate(resume);
    let at = resume;
    const record: FileRecord = { url, bytes: 0, sha256: "", added: Date.now(), complete: false, ...facts };
    await writeRecord(directory, name, record);
    let open = true;
    const giveUp = async (): Promise<void> => {
      open = false;
      access.close();
      await remove(directory, name);
    };
    return {
      async append(data) {
        if (!open) return false;
        try {
          if (access.write(data, { at }) !== data.length) throw new Error("short write");
          at += data.length;
          return true;
        } catch {
          await giveUp();
          return false;
        }
      },
      async finish(sha256) {
        if (!open) return false;
        open = false;
        try {
          access.flush();
          access.close();
          await writeRecord(directory, name, { ...record, bytes: at, sha256, complete: true });
          return true;
        } catch {
          await remove(directory, name);
          return false;
        }
      },
      async pause() {
        if (!open) return;
        open = false;
        access.flush();
        access.close();
      },
    };
  } catch (error) {
    // Another tab writes the same file: that one keeps it. Else there is no room even for the record.
    return (error as DOMException).name === "NoModificationAllowedError" ? KEPT_ELSEWHERE : null;
  }
}

const KEPT_ELSEWHERE: Writer = {
  append: () => Promise.resolve(true),
  finish: () => Promise.resolve(true),
  pause: () => Promise.resolve(),
};

export async function discard(url: string): Promise<void> {
  const directory = await folder(false);
  if (directory) await remove(directory, await nameOf(url));
  const cache = await cacheOf();
  for (const key of [url, recordUrl(url)]) await cache?.delete(key).catch(() => false);
}

/** All whole files. */
export async function list(): Promise<CacheEntry[]> {
  const entries: CacheEntry[] = [];
  const add = (record: FileRecord | null): void => {
    if (record?.complete) entries.push({ url: record.url, bytes: record.bytes, sha256: record.sha256, added: record.added });
  };
  const directory = await folder(false);
  if (directory)
    for await (const name of (directory as unknown as { keys(): AsyncIterable<string> }).keys())
      if (name.endsWith(".json")) add(await readRecord(directory, name.slice(0, -5)));
  const cache = await cacheOf();
  for (const request of (await cache?.keys().catch(() => [])) ?? [])
    if (request.url.endsWith(RECORD)) add(await cachedRecord(cache, request.url));
  return entries.sort((a, b) => b.added - a.added);
}

export async function clear(): Promise<void> {
  try {
    await (await navigator.storage.getDirectory()).removeEntry(FOLDER, { recursive: true });
  } catch {
    // none there
  }
  try {
    await caches.delete(FOLDER);
  } catch {
    // none there
  }
}

// ---- the Cache API, where there is no private file system ----

const RECORD = "pyedge-record=1";
const recordUrl = (url: string): string => `${url}${url.includes("?") ? "&" : "?"}${RECORD}`;

async function cacheOf(): Promise<Cache | null> {
  try {
    return await caches.open(FOLDER);
  } catch {
    return null;
  }
}

async function cachedRecord(cache: Cache | null, key: string): Promise<FileRecord | null> {
  try {
    return ((await (await cache?.match(key))?.json()) as FileRecord | undefined) ?? null;
  } catch {
    return null;
  }
}

async function findCached(url: string): Promise<Stored | null> {
  const cache = await cacheOf();
  const record = await cachedRecord(cache, recordUrl(url));
  const response = record?.complete ? await cache?.match(url) : undefined;
  if (!record || !response?.body) return null;
  const body = response.body;
  return {
    record,
    size: record.bytes,
    async read(into, piece, signal) {
      let at = 0;
      for await (const data of body) {
        signal.throwIfAborted();
        into(at, data.length).set(data);
        at += data.length;
        piece(data.length);
      }
      if (at !== record.bytes) throw new Error("the stored file is shorter than it was");
    },
    close: () => undefined,
  };
}

async function createCached(url: string): Promise<Writer | null> {
  const cache = await cacheOf();
  if (!cache) return null;
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const writer = writable.getWriter();
  let failed = false;
  const stored = cache.put(url, new Response(readable)).catch(() => {
    failed = true;
  });
  let bytes = 0;
  return {
    async append(data) {
      if (failed) return false;
      try {
        await writer.write(data.slice()); // the caller's piece may be memory that moves
        bytes += data.length;
        return true;
      } catch {
        failed = true;
        return false;
      }
    },
    async finish(sha256) {
      try {
        if (!failed) await writer.close();
        await stored;
        if (failed) return false;
        const record: FileRecord = {
          url, bytes, sha256, added: Date.now(), version: null, total: bytes, complete: true,
        }; // prettier-ignore
        await cache.put(recordUrl(url), new Response(JSON.stringify(record)));
        return true;
      } catch {
        await cache.delete(url).catch(() => false);
        return false;
      }
    },
    async pause() {
      await writer.abort().catch(() => undefined); // there is no going on from the middle here
      await stored;
    },
  };
}
