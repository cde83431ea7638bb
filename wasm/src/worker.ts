/** The worker: one model. Questions about texts and facts are answered at once, also between two tokens; one call at a
 * time evaluates. */
import { Bench } from "./bench.js";
import { Cancelled } from "./core.js";
import { Engine } from "./engine.js";
import { BusyError, ClosedError, ContextOverflowError, NetworkError, PyEdgeError } from "./errors.js";
import { isNode } from "./features.js";
import type { FromWorker, Results, ToWorker, WireError } from "./protocol.js";

type Request = Exclude<ToWorker, { kind: "abort" | "leave" }>;

let send: (message: FromWorker, transfer?: Transferable[]) => void;
let engine: Engine | null = null;
let loadMs = 0;
let evaluating = 0; // id of the request that evaluates
const aborts = new Map<number, AbortController>();

function opened(): Engine {
  if (!engine) throw new ClosedError("no model is loaded");
  return engine;
}

/** Run something that moves the session, alone. */
async function alone<T>(id: number, run: (engine: Engine) => T | Promise<T>): Promise<T> {
  const open = opened();
  if (evaluating)
    throw new BusyError(
      "the model is in use by another call (a generation that has not ended): end that first, or abort it through its signal",
    );
  evaluating = id;
  open.core.begin(id);
  try {
    return await run(open);
  } finally {
    evaluating = 0;
  }
}

async function answer(call: Request, signal: AbortSignal): Promise<Results[Request["kind"]]> {
  const { id } = call;
  const loading = {
    signal,
    progress: (progress: Extract<FromWorker, { kind: "progress" }>["progress"]) => send({ kind: "progress", id, progress }),
    warn: (message: string) => send({ kind: "warning", id, message }),
  };
  switch (call.kind) {
    case "load": {
      const loaded = await Engine.load(call, loading);
      engine = loaded.engine;
      loadMs = loaded.info.loadMs;
      return loaded.info;
    }
    case "metadata":
      return opened().metadata();
    case "template":
      return opened().applyTemplate(call.messages, call.tools, call.addGenerationPrompt);
    case "tokenize":
      return opened().tokenize(call.text, call.addSpecial, call.parseSpecial);
    case "detokenize":
      return opened().detokenize(call.ids, call.skipSpecial);
    case "tokenBytes":
      return opened().core.tokenBytes(opened().model, call.token);
    case "usage":
      return opened().usage();
    case "loras":
      return opened().loras();
    case "loadLora":
      return opened().loadLora(call, loading);
    case "unloadLora":
      return void opened().unloadLora(call.name);
    case "setLora":
      return void opened().setLora(call.set);
    case "logits":
      return alone(id, (open) => open.logits(call.ids, signal));
    case "embed":
      return alone(id, (open) => open.embed(call.text));
    case "reset":
      return alone(id, (open) => void open.reset());
    case "generate":
      return alone(id, (open) =>
        open.generate(call.prompt, call.options, call.lora, signal, (piece) => send({ kind: "piece", id, piece })),
      );
    case "bench":
      return alone(id, (open) =>
        new Bench(open, loadMs, signal).run(call.options, (row) => send({ kind: "row", id, row })),
      );
  }
}

function wireError(error: unknown, signal: AbortSignal): WireError {
  if (signal.aborted || error instanceof Cancelled) return { code: "aborted", message: "the call was aborted" };
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof ContextOverflowError)
    return { code: error.code, message, needed: error.needed, capacity: error.capacity };
  if (error instanceof NetworkError) return { code: error.code, message, status: error.status };
  if (error instanceof PyEdgeError) return { code: error.code, message };
  // The core is free of traps by design; running out of memory inside of the engine is one all the same.
  if (error instanceof WebAssembly.RuntimeError) return { code: "error", message: `the module stopped: ${message}` };
  if (error instanceof RangeError)
    return /memory|allocation|array buffer/i.test(message)
      ? { code: "out-of-memory", message: `the browser has no memory left (${message}): close other tabs, or take a smaller model` }
      : { code: "range", message };
  if (error instanceof TypeError) return { code: "type", message };
  return { code: "error", message };
}

/** When nothing is evaluated any more, end the threads. */
function leave(): void {
  if (evaluating) {
    for (const controller of aborts.values()) controller.abort();
    setTimeout(leave);
    return;
  }
  engine?.close();
  engine = null;
}

async function receive(message: ToWorker): Promise<void> {
  if (message.kind === "leave") return leave();
  if (message.kind === "abort") {
    aborts.get(message.id)?.abort();
    return;
  }
  const controller = new AbortController();
  aborts.set(message.id, controller);
  try {
    const value = await answer(message, controller.signal);
    const transfer = ArrayBuffer.isView(value) && value.buffer instanceof ArrayBuffer ? [value.buffer] : [];
    send({ kind: "done", id: message.id, value }, transfer);
  } catch (error) {
    send({ kind: "error", id: message.id, error: wireError(error, controller.signal) });
  } finally {
    aborts.delete(message.id);
  }
}

if (isNode()) {
  const { parentPort } = await import("node:worker_threads");
  if (!parentPort) throw new Error("worker.js runs in a worker");
  send = (message, transfer = []) => parentPort.postMessage(message, transfer as never);
  parentPort.on("message", (message: ToWorker) => void receive(message));
} else {
  const scope = globalThis as unknown as {
    postMessage(message: FromWorker, transfer?: Transferable[]): void;
    onmessage: ((event: MessageEvent<ToWorker>) => void) | null;
  };
  send = (message, transfer = []) => scope.postMessage(message, transfer);
  scope.onmessage = (event) => void receive(event.data);
}
