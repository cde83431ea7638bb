/** Conversations in IndexedDB. Where the browser refuses it, they last as long as the tab, and `refused` says so. */
import { openDB, type DBSchema, type IDBPDatabase } from "idb";
import { signal } from "@preact/signals";
import type { Conversation, Summary } from "./types";

interface Schema extends DBSchema {
  summaries: { key: string; value: Summary };
  conversations: { key: string; value: Conversation };
}

/** The browser keeps nothing: tell the visitor. */
export const refused = signal(false);

const memory = new Map<string, Conversation>();
const others = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel("pyedge");
let opening: Promise<IDBPDatabase<Schema>> | null = null;

function open(): Promise<IDBPDatabase<Schema>> {
  opening ??= openDB<Schema>("pyedge", 1, {
    upgrade(db) {
      db.createObjectStore("summaries", { keyPath: "id" });
      db.createObjectStore("conversations", { keyPath: "id" });
    },
    // Another tab with a newer page wants to change the structure: let it.
    blocking: (_now, _next, event) => (event.target as IDBDatabase).close(),
    terminated: () => void (opening = null),
  });
  return opening;
}

function summary({ id, title, created, updated }: Conversation): Summary {
  return { id, title, created, updated };
}

/** Runs `work` on the database; where there is none or no room, takes what `otherwise` gives. */
async function withDatabase<T>(work: (db: IDBPDatabase<Schema>) => Promise<T>, otherwise: () => T): Promise<T> {
  try {
    const result = await work(await open());
    return result;
  } catch {
    opening = null;
    refused.value = true;
    return otherwise();
  }
}

/** Newest first. */
export async function list(): Promise<Summary[]> {
  const all = await withDatabase((db) => db.getAll("summaries"), () => []);
  const known = new Map(all.map((entry) => [entry.id, entry]));
  for (const entry of memory.values()) known.set(entry.id, summary(entry));
  return [...known.values()].sort((a, b) => b.updated - a.updated);
}

export async function read(id: string): Promise<Conversation | undefined> {
  return memory.get(id) ?? (await withDatabase((db) => db.get("conversations", id), () => undefined));
}

export async function write(conversation: Conversation): Promise<void> {
  await withDatabase(
    async (db) => {
      const transaction = db.transaction(["summaries", "conversations"], "readwrite");
      await Promise.all([
        transaction.objectStore("summaries").put(summary(conversation)),
        transaction.objectStore("conversations").put(conversation),
        transaction.done,
      ]);
      memory.delete(conversation.id);
    },
    () => void memory.set(conversation.id, conversation),
  );
  others?.postMessage(conversation.id);
}

export async function remove(id: string): Promise<void> {
  memory.delete(id);
  await withDatabase(
    async (db) => {
      const transaction = db.transaction(["summaries", "conversations"], "readwrite");
      await Promise.all([
        transaction.objectStore("summaries").delete(id),
        transaction.objectStore("conversations").delete(id),
        transaction.done,
      ]);
    },
    () => undefined,
  );
  others?.postMessage(id);
}

/** Calls back with the id of a conversation that another tab wrote or removed. */
export function onOtherTab(changed: (id: string) => void): void {
  others?.addEventListener("message", (event: MessageEvent<string>) => changed(event.data));
}
