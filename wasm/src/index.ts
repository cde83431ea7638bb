/** Language models in the browser and in Node: load a file, chat, close.
 *
 *     const model = await PyEdge.load("https://example.org/model.gguf", { onProgress });
 *     for await (const piece of model.chat([{ role: "user", content: "Hello!" }])) show(piece.text);
 *     await model.close();
 */
import { load } from "./client.js";
import { features } from "./features.js";
import * as store from "./store.js";
import type { CacheEntry, Features, LoadOptions, Model, Source } from "./types.js";

export * from "./errors.js";
export type * from "./types.js";

export const PyEdge: {
  /** Read a model file into a worker of its own. */
  load(source: Source, options?: LoadOptions): Promise<Model>;
  /** What this browser allows, and the module that follows from it. */
  features(): Features;
  /** What is kept in this browser's storage. */
  cached(): Promise<CacheEntry[]>;
  /** Remove one entry, or all. */
  uncache(url?: string | URL): Promise<void>;
} = {
  load,
  features,
  cached: () => store.list(),
  async uncache(url) {
    if (url === undefined) return store.clear();
    await store.discard(new URL(url, (globalThis as { location?: { href: string } }).location?.href).href);
  },
};
