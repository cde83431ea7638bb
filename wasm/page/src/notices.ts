/** What the page tells the visitor: one sentence at a time, until it is closed or replaced. */
import { signal } from "@preact/signals";
import { PyEdgeError, type ErrorCode } from "pyedge";
import { language, t, type Word } from "./i18n";

export interface Notice {
  kind: "error" | "info";
  text: string;
  /** The exact words of the library, where `text` is a translation. */
  detail?: string;
  action?: { label: string; run: () => void };
}

export const notice = signal<Notice | null>(null);

export function tell(text: string, action?: Notice["action"]): void {
  notice.value = action ? { kind: "info", text, action } : { kind: "info", text };
}

export function tellError(error: unknown): void {
  notice.value = { kind: "error", ...sentence(error) };
}

const byCode: Record<ErrorCode, Word> = {
  error: "error",
  "model-file": "errorModelFile",
  unsupported: "errorUnsupported",
  "context-overflow": "errorOverflow",
  adapter: "errorAdapter",
  "out-of-memory": "errorMemory",
  network: "errorNetwork",
  storage: "errorStorage",
  busy: "errorBusy",
  closed: "errorClosed",
  cancelled: "errorCancelled",
};

/** What the library says of a load that succeeds all the same: that the file could not be kept. */
export function tellWarning(message: string): void {
  const text = asSentence(message);
  notice.value = { kind: "info", ...(language.value === "en" ? { text } : { text: t("notKept"), detail: text }) };
}

function asSentence(message: string): string {
  const ended = /[.!?。！？]$/.test(message) ? message : `${message}.`;
  // A sentence begins with a capital; the name of a file or an address stays as it is.
  return /^[a-z]+[ ,]/.test(ended) ? ended.charAt(0).toUpperCase() + ended.slice(1) : ended;
}

/** An error as one sentence in the visitor's language. The library's own sentences are English and name the place;
 * in another language they come second. */
export function sentence(error: unknown): { text: string; detail?: string } {
  const start = asSentence(error instanceof Error ? error.message : String(error));
  if (error instanceof PyEdgeError && language.value === "en") return { text: start };
  if (error instanceof PyEdgeError) return { text: t(byCode[error.code] ?? "error"), detail: start };
  return { text: t("error"), detail: start };
}
