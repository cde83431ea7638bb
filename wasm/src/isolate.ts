/** For hosts that cannot send headers: a service worker that adds COOP and COEP to every answer of its own origin, so
 * that the page becomes cross-origin isolated and threads can share memory. The page registers it and is loaded once
 * more, since the headers count from the next load on:
 *
 *     import { isolate } from "pyedge/isolate.js";
 *     await isolate("./isolate.js");
 *
 * This file is both: the function for the page, and the service worker itself. It keeps nothing and changes nothing
 * else. */

interface ServiceWorkerScope {
  skipWaiting(): Promise<void>;
  clients: { claim(): Promise<void> };
  addEventListener(kind: "install" | "activate", listener: (event: { waitUntil(p: Promise<unknown>): void }) => void): void;
  addEventListener(
    kind: "fetch",
    listener: (event: { request: Request; respondWith(r: Promise<Response>): void }) => void,
  ): void;
}

/** An answer with the headers. */
export function isolated(response: Response): Response {
  if (response.type === "opaque" || response.type === "opaqueredirect" || response.status === 0) return response;
  const headers = new Headers(response.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  headers.set("Cross-Origin-Resource-Policy", "same-origin");
  const bodiless = [101, 204, 205, 304].includes(response.status);
  return new Response(bodiless ? null : response.body, {
    status: response.status,
    statusText: response.statusText,
    headers,
  });
}

/** Register the service worker at `url` and load the page once more, where that is needed and helps. Resolves to whether
 * the page is isolated. */
export async function isolate(url: string | URL): Promise<boolean> {
  if (globalThis.crossOriginIsolated) return true;
  if (typeof window === "undefined" || !("serviceWorker" in navigator) || !window.isSecureContext) return false;
  const tried = "pyedge-isolate"; // once: where it does not help, the page must not load for ever
  try {
    await navigator.serviceWorker.register(url, { type: "module" });
    await navigator.serviceWorker.ready;
    if (sessionStorage.getItem(tried)) return false;
    sessionStorage.setItem(tried, "1");
  } catch {
    return false;
  }
  window.location.reload();
  return new Promise(() => undefined); // the page is about to go
}

if (typeof window === "undefined" && "skipWaiting" in globalThis) {
  const scope = globalThis as unknown as ServiceWorkerScope;
  scope.addEventListener("install", (event) => event.waitUntil(scope.skipWaiting()));
  scope.addEventListener("activate", (event) => event.waitUntil(scope.clients.claim()));
  scope.addEventListener("fetch", (event) => {
    const { request } = event;
    if (request.cache === "only-if-cached" && request.mode !== "same-origin") return;
    if (new URL(request.url).origin !== new URL(globalThis.location.href).origin) return;
    event.respondWith(fetch(request).then(isolated));
  });
}
