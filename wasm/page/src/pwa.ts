/** The service worker: the page without a network, and the headers for threads where the host does not send them. */
import { engine } from "./engine";
import { t } from "./i18n";
import { remember, remembered } from "./keep";
import { tell } from "./notices";

export async function registerWorker(): Promise<void> {
  if (!import.meta.env.PROD || !("serviceWorker" in navigator)) return;
  let registration: ServiceWorkerRegistration;
  try {
    registration = await navigator.serviceWorker.register(new URL("./sw.js", document.baseURI), { updateViaCache: "none" });
  } catch {
    return; // refused, as in private windows: the page works, but neither offline nor with threads on such hosts
  }
  const offer = (worker: ServiceWorker) => {
    if (!navigator.serviceWorker.controller) return; // the first visit: nothing older is shown
    tell(t("newVersion"), {
      label: t("reload"),
      run: () => {
        navigator.serviceWorker.addEventListener("controllerchange", () => location.reload(), { once: true });
        worker.postMessage("take over");
      },
    });
  };
  if (registration.waiting) offer(registration.waiting);
  registration.addEventListener("updatefound", () => {
    const worker = registration.installing;
    worker?.addEventListener("statechange", () => worker.state === "installed" && offer(worker));
  });
  await reloadForHeaders(registration);
}

/** Headers that the worker adds count from the next load on: once, and before the visitor has begun. */
async function reloadForHeaders(registration: ServiceWorkerRegistration): Promise<void> {
  if (crossOriginIsolated || remembered<number>("isolating", 0) > Date.now() - 60_000) return;
  await navigator.serviceWorker.ready;
  if (!navigator.serviceWorker.controller) {
    const claimed = new Promise((done) => navigator.serviceWorker.addEventListener("controllerchange", done, { once: true }));
    registration.active?.postMessage("claim");
    await Promise.race([claimed, new Promise((done) => setTimeout(done, 3000))]);
  }
  const begun = engine.value.phase !== "none" || document.querySelector<HTMLTextAreaElement>("#message")?.value;
  if (begun) return;
  remember("isolating", Date.now());
  location.reload();
}
