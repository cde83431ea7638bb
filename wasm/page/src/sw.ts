/** Service worker. Keeps the page's own files, so that it opens without a network, and answers with the headers that
 * threads need, also where the host cannot send them. Models are not its business: the library keeps those.
 */
import { features as featuresHere } from "../../src/features";

declare const __FILES__: string[];
declare const __VERSION__: string;
declare const __HEADERS__: Record<string, string>;

/** What the page needs of the type `ServiceWorkerGlobalScope`, which TypeScript has only in another library. */
interface Scope {
  readonly registration: { readonly scope: string };
  readonly clients: { claim(): Promise<void> };
  skipWaiting(): Promise<void>;
  addEventListener(type: "install" | "activate", listener: (event: { waitUntil(work: Promise<unknown>): void }) => void): void;
  addEventListener(type: "message", listener: (event: MessageEvent) => void): void;
  addEventListener(type: "fetch", listener: (event: { request: Request; respondWith(answer: Promise<Response>): void }) => void): void;
}
const worker = self as unknown as Scope;

const cacheName = `pyedge-page-${worker.registration.scope}-${__VERSION__}`;
/** Of the four modules, a browser that has relaxed SIMD never takes the other two. */
const relaxed = featuresHere().relaxedSimd;
const needed = (name: string) => !name.startsWith(relaxed ? "engine/pyedge-wasm128" : "engine/pyedge-wasmrelaxed");
const ours = new Map(__FILES__.map((name) => [new URL(name, worker.registration.scope).pathname, name]));
const indexPath = new URL("index.html", worker.registration.scope).pathname;
const folderPath = new URL(worker.registration.scope).pathname;
const listPath = new URL("models.json", worker.registration.scope).pathname;

worker.addEventListener("install", (event) => {
  event.waitUntil(
    caches.open(cacheName).then((cache) =>
      cache.addAll([...ours].flatMap(([path, name]) => (needed(name) ? [path] : [])).map((path) => new Request(path, { cache: "no-cache" }))),
    ),
  );
});

worker.addEventListener("activate", (event) => {
  event.waitUntil(
    (async () => {
      const prefix = `pyedge-page-${worker.registration.scope}-`;
      for (const name of await caches.keys()) if (name.startsWith(prefix) && name !== cacheName) await caches.delete(name);
      await worker.clients.claim();
    })(),
  );
});

worker.addEventListener("message", (event) => {
  if (event.data === "take over") void worker.skipWaiting();
  if (event.data === "claim") void worker.clients.claim();
});

worker.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== "GET" || url.origin !== location.origin) return;
  const path = url.pathname === folderPath ? indexPath : url.pathname;
  if (path === listPath) event.respondWith(freshOrKept(request, path));
  else if (ours.has(path)) event.respondWith(keptOrFresh(path));
});

async function keptOrFresh(path: string): Promise<Response> {
  const cache = await caches.open(cacheName);
  return withHeaders((await cache.match(path)) ?? (await fetch(path)));
}

/** The list of models may change from visit to visit. */
async function freshOrKept(request: Request, path: string): Promise<Response> {
  const cache = await caches.open(cacheName);
  try {
    const answer = await fetch(request);
    if (answer.ok) await cache.put(path, answer.clone());
    return withHeaders(answer);
  } catch {
    return withHeaders((await cache.match(path)) ?? Response.error());
  }
}

function withHeaders(answer: Response): Response {
  if (answer.type === "error" || answer.status === 0 || answer.redirected) return answer;
  const headers = new Headers(answer.headers);
  for (const [name, value] of Object.entries(__HEADERS__)) headers.set(name, value);
  return new Response(answer.body, { status: answer.status, statusText: answer.statusText, headers });
}
