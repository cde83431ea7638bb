/** Chat templates: from messages to the text that the model was trained on. A template comes from the model file, so it is
 * a program from a stranger: it runs in the worker, on copies, with nothing in reach but what is given here. */
import { Environment, Interpreter, Template } from "@huggingface/jinja";
import { ModelFileError } from "./errors.js";
import type { Message } from "./types.js";

const MAX_SOURCE = 1 << 20; // characters; the longest known templates have some 30 thousand
const MAX_RANGE = 100_000;

/** The template itself calls the messages wrong. */
class Refused extends Error {}

export class ChatTemplate {
  private readonly program: Template["parsed"];

  constructor(
    source: string,
    private readonly tokens: { bos_token: string; eos_token: string },
  ) {
    if (source.length > MAX_SOURCE)
      throw new ModelFileError(
        `tokenizer.chat_template has ${source.length} characters; at most ${MAX_SOURCE} are allowed`,
      );
    // {% generation %} marks answers for training; to render, it is its body.
    const plain = source
      .replace(/(\{%[-+]?\s*)generation(\s*[-+]?%\})/g, "$1if true$2")
      .replace(/(\{%[-+]?\s*)endgeneration(\s*[-+]?%\})/g, "$1endif$2");
    try {
      this.program = new Template(plain).parsed;
    } catch (cause) {
      throw new ModelFileError(`tokenizer.chat_template is broken: ${reason(cause)}`, { cause });
    }
  }

  render(messages: Message[], tools: unknown[] | null, addGenerationPrompt: boolean): string {
    const values: Record<string, unknown> = {
      true: true, false: false, none: null, True: true, False: false, None: null,
      range,
      strftime_now: (format: unknown) => strftime(String(format), new Date()),
      raise_exception: (message: unknown) => {
        throw new Refused(String(message));
      },
      messages,
      tools,
      documents: null,
      add_generation_prompt: addGenerationPrompt,
      ...this.tokens,
    }; // prettier-ignore
    try {
      const environment = new Environment();
      for (const [name, value] of Object.entries(values)) environment.set(name, value);
      return String(new Interpreter(environment).run(this.program).value);
    } catch (cause) {
      if (cause instanceof Refused) throw new RangeError(`the model's chat template refuses these messages: ${cause.message}`);
      throw new ModelFileError(`tokenizer.chat_template failed: ${reason(cause)}`, { cause });
    }
  }
}

const reason = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).replace(/\s+/g, " ").slice(0, 300);

function range(...limits: number[]): number[] {
  const [start, stop, step] = limits.length === 1 ? [0, limits[0], 1] : [limits[0], limits[1], limits[2] ?? 1];
  if (start === undefined || stop === undefined || !step) throw new Error("range takes one to three numbers");
  const count = Math.max(0, Math.ceil((stop - start) / step));
  if (count > MAX_RANGE) throw new Error(`range of ${count} items; at most ${MAX_RANGE} are allowed`);
  return Array.from({ length: count }, (_, i) => start + i * step);
}

/** The directives of C's strftime that templates use, in English as there. */
function strftime(format: string, now: Date): string {
  const two = (n: number): string => String(n).padStart(2, "0");
  const word = (options: Intl.DateTimeFormatOptions): string => new Intl.DateTimeFormat("en-US", options).format(now);
  const parts: Record<string, () => string> = {
    Y: () => String(now.getFullYear()),
    y: () => two(now.getFullYear() % 100),
    m: () => two(now.getMonth() + 1),
    d: () => two(now.getDate()),
    e: () => String(now.getDate()).padStart(2),
    H: () => two(now.getHours()),
    I: () => two(now.getHours() % 12 || 12),
    M: () => two(now.getMinutes()),
    S: () => two(now.getSeconds()),
    p: () => (now.getHours() < 12 ? "AM" : "PM"),
    A: () => word({ weekday: "long" }),
    a: () => word({ weekday: "short" }),
    B: () => word({ month: "long" }),
    b: () => word({ month: "short" }),
    F: () => strftime("%Y-%m-%d", now),
    T: () => strftime("%H:%M:%S", now),
    "%": () => "%",
  };
  return format.replace(/%([a-zA-Z%])/g, (whole, letter: string) => parts[letter]?.() ?? whole);
}

/** The contents alone, for a model without a template. */
export function plainText(messages: Message[]): string {
  return messages
    .map(({ content }) => (typeof content === "string" ? content : (content ?? []).map((part) => part.text).join("")))
    .join("\n");
}
