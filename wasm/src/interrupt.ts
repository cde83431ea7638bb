/** Where memory is shared, an evaluation can be ended from outside: through a word that the core looks at before every
 * layer. The page itself must not hold that memory. Browsers do not count shared memory when they decide to collect, so
 * a closed model would stay for as long as nothing else is to be collected. So a worker beside the engine's has it, and
 * ends together with it; the page has a port to that one. */
import { isNode } from "./features.js";

/** The name by which worker.ts knows what it is. */
export const INTERRUPTER = "pyedge-interrupt";

interface Charge {
  memory: WebAssembly.Memory;
  address: number;
  port: MessagePort;
}

/** In the engine's worker: the port that takes the numbers of calls that are to end, once it is heard; null where there
 * can be none, so that calls end between two of their pieces only. */
export async function startInterrupter(memory: WebAssembly.Memory, address: number): Promise<MessagePort | null> {
  const { port1, port2 } = new MessageChannel();
  const charge: Charge = { memory, address, port: port1 };
  const script = new URL(import.meta.url);
  const { Worker: NodeWorker } = isNode() ? await import("node:worker_threads") : { Worker: null };
  const heard = await new Promise<boolean>((resolve) => {
    if (NodeWorker) {
      const worker = new NodeWorker(script, { workerData: INTERRUPTER });
      worker.once("message", () => resolve(true));
      worker.once("error", () => resolve(false));
      worker.postMessage(charge, [port1 as never]);
    } else {
      const worker = new Worker(script, { type: "module", name: INTERRUPTER });
      worker.onmessage = () => resolve(true);
      worker.onerror = (event) => {
        event.preventDefault();
        resolve(false);
      };
      worker.postMessage(charge, [port1]);
    }
  });
  return heard ? port2 : null;
}

/** In the other worker: what it is given to do; `ready` says that it does it. */
export function interrupter({ memory, address, port }: Charge, ready: () => void): void {
  port.onmessage = ({ data }: MessageEvent<number>) => {
    Atomics.store(new Int32Array(memory.buffer, address, 1), 0, data);
  };
  ready();
}
