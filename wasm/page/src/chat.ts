/** Conversations, and the answer that is being written. */
import { batch, effect, signal } from "@preact/signals";
import { ClosedError, ContextOverflowError, type Generation, type GenerateOptions, type Message, type Model } from "pyedge";
import { attached, engine, lostModel, refreshUsage } from "./engine";
import { t } from "./i18n";
import { sentence, tell } from "./notices";
import { recordTokens, sampling, systemPrompt } from "./settings";
import * as store from "./store";
import { splitThoughts } from "./thoughts";
import type { Answer, AssistantTurn, Choice, Conversation, Summary, TokenRecord, Turn } from "./types";

export const summaries = signal<Summary[]>([]);
export const current = signal<Conversation>(fresh());

/** The answer that is being written, or that waits for the model. */
export interface Live {
  conversation: string;
  turn: string;
  phase: "model" | "prompt" | "tokens";
  stop: AbortController;
}
export const live = signal<Live | null>(null);
/** What a screen reader is told. */
export const announcement = signal("");

const CHOICES = 5; // alternatives recorded with each token
const REDRAW_MS = 100;
const RECOUNT_MS = 1000; // between two looks at how full the context is

// ---- conversations ----

function fresh(): Conversation {
  const now = Date.now();
  return { id: crypto.randomUUID(), title: "", created: now, updated: now, system: systemPrompt.peek(), turns: [] };
}

/** Written to while they are not shown; the store has the rest. */
const working = new Map<string, Conversation>();

function conversation(id: string): Conversation | undefined {
  return current.value.id === id ? current.value : working.get(id);
}

/** Replaces a conversation by a changed copy, and keeps it unless `save` is false. */
function update(id: string, change: (now: Conversation) => Partial<Conversation>, save = true): void {
  const now = conversation(id);
  if (!now) return;
  const next = { ...now, ...change(now), ...(save ? { updated: Date.now() } : {}) };
  if (current.value.id === id) current.value = next;
  else working.set(id, next);
  if (save) void keep(next);
}

async function keep(value: Conversation): Promise<void> {
  await store.write(value);
  summaries.value = await store.list();
}

export async function readConversations(): Promise<void> {
  summaries.value = await store.list();
  store.onOtherTab((id) => {
    void (async () => {
      summaries.value = await store.list();
      if (id !== current.value.id || live.value?.conversation === id) return;
      const theirs = await store.read(id);
      if (theirs && theirs.updated > current.value.updated) current.value = theirs;
    })();
  });
}

export function newConversation(): void {
  leave();
  current.value = fresh();
}

export async function openConversation(id: string): Promise<void> {
  if (current.value.id === id) return;
  const found = working.get(id) ?? (await store.read(id));
  if (!found) {
    summaries.value = await store.list();
    return;
  }
  leave();
  working.delete(id);
  current.value = found;
}

/** An answer goes on being written in a conversation that is not shown. */
function leave(): void {
  if (live.value?.conversation === current.value.id) working.set(current.value.id, current.value);
}

export async function removeConversation(id: string): Promise<void> {
  if (live.value?.conversation === id) live.value.stop.abort();
  const gone = current.value.id === id ? current.value : await store.read(id);
  if (current.value.id === id) current.value = fresh();
  working.delete(id);
  await store.remove(id);
  summaries.value = await store.list();
  if (!gone) return;
  const restore = () => void keep(gone).then(() => openConversation(id));
  tell(t("removed", { title: gone.title || t("untitled") }), { label: t("undo"), run: restore });
}

export function rename(id: string, title: string): void {
  if (conversation(id)) return update(id, () => ({ title }));
  void store.read(id).then((found) => found && keep({ ...found, title }));
}

export function setSystem(system: string): void {
  update(current.value.id, () => ({ system }), current.value.turns.length > 0);
}

// ---- asking ----

export function send(text: string): void {
  const question = text.trim();
  if (!question || live.value) return;
  const { id } = current.value;
  const asked: Turn = { id: crypto.randomUUID(), role: "user", text: question };
  update(id, (now) => ({ title: now.title || titleOf(question), turns: [...now.turns, asked] }));
  answer(id);
}

/** Changes a question; what followed it goes, and can be brought back. */
export function edit(turn: string, text: string): void {
  const question = text.trim();
  const { id, turns } = current.value;
  const at = turns.findIndex((entry) => entry.id === turn);
  if (!question || live.value || at < 0) return;
  const before = turns;
  const changed: Turn = { id: turn, role: "user", text: question };
  update(id, () => ({ turns: [...turns.slice(0, at), changed] }));
  if (before.length > at + 2) {
    tell(t("edited"), {
      label: t("undo"),
      run: () => {
        live.value?.stop.abort();
        update(id, () => ({ turns: before }));
      },
    });
  }
  answer(id);
}

/** Another answer to the same question, beside the ones that are there. */
export function retry(turn: string): void {
  const { id, turns } = current.value;
  const at = turns.findIndex((entry) => entry.id === turn);
  if (live.value || at < 0) return;
  if (at < turns.length - 1) update(id, () => ({ turns: turns.slice(0, at + 1) }));
  answer(id);
}

export function showAnswer(turn: string, shown: number): void {
  update(current.value.id, (now) => ({
    turns: now.turns.map((entry) => (entry.id === turn && entry.role === "assistant" ? { ...entry, shown } : entry)),
  }));
}

/** Writes on from the middle of an answer: from token `at`, which becomes `choice`; or from its end. */
export function continueFrom(turn: string, at?: number, choice?: Choice): void {
  const { id, turns } = current.value;
  const found = turns.find((entry) => entry.id === turn);
  const now = engine.value;
  if (live.value || found?.role !== "assistant" || now.phase !== "ready") return;
  const from = found.answers[found.shown];
  if (!from) return;
  const kept = at === undefined ? from.tokens : from.tokens.slice(0, at);
  const tokens = choice ? [...kept, { id: choice[0], text: choice[1], probability: choice[2], top: from.tokens[at ?? 0]?.top ?? [] }] : kept;
  const begun = at === undefined ? from.text : tokens.map((token) => token.text).join("");
  const where = turns.indexOf(found);
  if (where < turns.length - 1) update(id, () => ({ turns: turns.slice(0, where + 1) }));
  answer(id, { text: begun, tokens });
}

export function stop(): void {
  live.value?.stop.abort();
}

function titleOf(question: string): string {
  const line = question.split("\n")[0]?.trim() ?? "";
  const characters = [...line];
  return characters.length > 48 ? `${characters.slice(0, 47).join("")}…` : line;
}

// ---- answering ----

/** Appends an answer to the last turn of a conversation, as soon as there is a model. */
function answer(id: string, begun?: { text: string; tokens: TokenRecord[] }): void {
  const now = conversation(id);
  const last = now?.turns.at(-1);
  if (!now || !last) return;
  const empty: Answer = { text: begun?.text ?? "", tokens: begun?.tokens ?? [], model: "", adapters: {} };
  const turn: AssistantTurn =
    last.role === "assistant"
      ? { ...last, answers: [...last.answers, empty], shown: last.answers.length }
      : { id: crypto.randomUUID(), role: "assistant", answers: [empty], shown: 0 };
  const asked = now.turns.filter((entry) => entry !== last || entry.role === "user");
  const stop = new AbortController();
  batch(() => {
    update(id, () => ({ turns: [...asked, turn] }), false);
    live.value = { conversation: id, turn: turn.id, phase: "model", stop };
  });
  stop.signal.addEventListener("abort", () => {
    if (live.value?.stop === stop && live.value.phase === "model") withdraw();
  });
}

/** Nothing was written yet, and there is no model: take the empty answer away. */
function withdraw(): void {
  const now = live.value;
  if (!now) return;
  live.value = null;
  update(now.conversation, ({ turns }) => ({
    turns: turns.flatMap((turn): Turn[] => {
      if (turn.id !== now.turn || turn.role !== "assistant") return [turn];
      const answers = turn.answers.slice(0, -1);
      return answers.length ? [{ ...turn, answers, shown: answers.length - 1 }] : [];
    }),
  }));
}

effect(() => {
  const now = engine.value;
  const waiting = live.value;
  if (now.phase === "ready" && waiting?.phase === "model") queueMicrotask(() => void write(waiting, now.model, now.origin.name));
});

function options(): GenerateOptions {
  const { temperature, topK, topP, minP, repeatPenalty, maxTokens, seed } = sampling.value;
  const base = { temperature, topK, topP, minP, repeatPenalty, maxTokens };
  return {
    ...base,
    ...(/^\d+$/.test(seed) ? { seed: BigInt.asUintN(64, BigInt(seed)) } : {}),
    ...(recordTokens.value ? { logprobs: CHOICES } : {}),
  };
}

/** The messages that the model is given: the answers as they are shown, without the one being written. */
function messages(now: Conversation, turn: string): Message[] {
  const list: Message[] = now.system.trim() ? [{ role: "system", content: now.system.trim() }] : [];
  for (const entry of now.turns) {
    if (entry.id === turn) break;
    if (entry.role === "user") list.push({ role: "user", content: entry.text });
    else list.push({ role: "assistant", content: entry.answers[entry.shown]?.text ?? "" });
  }
  return list;
}

async function write(begun: Live, model: Model, name: string): Promise<void> {
  if (live.value !== begun) return;
  const task: Live = { ...begun, phase: "prompt" };
  live.value = task;
  const { conversation: id, turn, stop } = task;
  const change = (fields: Partial<Answer>, save = false) =>
    update(
      id,
      ({ turns }) => ({
        turns: turns.map((entry) => {
          if (entry.id !== turn || entry.role !== "assistant") return entry;
          return { ...entry, answers: entry.answers.map((one, at) => (at === entry.answers.length - 1 ? { ...one, ...fields } : one)) };
        }),
      }),
      save,
    );
  const here = conversation(id);
  const mine = here?.turns.find((entry) => entry.id === turn);
  const prefix = mine?.role === "assistant" ? mine.answers.at(-1) : undefined;
  if (!here || !prefix) return void (live.value = null);

  let text = prefix.text;
  const tokens = [...prefix.tokens];
  let drawing: ReturnType<typeof setTimeout> | undefined;
  let counted = 0;
  const draw = () => {
    drawing = undefined;
    change({ text, tokens: [...tokens] });
    if (performance.now() - counted < RECOUNT_MS) return;
    counted = performance.now();
    void refreshUsage();
  };
  const started = performance.now();
  let first = 0;
  let count = 0;
  announcement.value = t("answering");
  change({ model: name, adapters: attached() });
  try {
    const asked = messages(here, turn);
    let leftOut = 0;
    for (;;) {
      try {
        const generation = await generate(model, asked, prefix.text, stop.signal);
        for await (const piece of generation) {
          const end = piece.finishReason === "stop" && !piece.text; // the end token is no part of the text
          if (piece.token !== null && !end) {
            count++;
            if (!first) {
              first = performance.now();
              live.value = { ...task, phase: "tokens" };
            }
            if (recordTokens.value && piece.logprob !== null) {
              const top = (piece.top ?? []).map((entry): Choice => [entry.token, entry.text, Math.exp(entry.logprob)]);
              const own = top.find(([token]) => token === piece.token);
              tokens.push({ id: piece.token, text: own?.[1] ?? piece.text, probability: Math.exp(piece.logprob), top });
            }
          }
          text += piece.text;
          drawing ??= setTimeout(draw, REDRAW_MS);
          if (piece.finishReason) change({ finish: piece.finishReason, ...(leftOut ? { leftOut } : {}) });
        }
        const { promptTokens, ttftMs, decodeTokens, decodeMs } = generation.timings;
        change({
          promptTokens,
          ...(ttftMs ? { firstMs: ttftMs } : {}),
          ...(decodeTokens ? { speed: (1000 * decodeTokens) / decodeMs } : {}),
        });
        break;
      } catch (error) {
        // Too long a conversation: leave out the oldest question and its answer, and ask again.
        const oldest = asked.findIndex((message) => message.role === "user");
        const spare = asked.length - oldest > 1 && count === 0 && error instanceof ContextOverflowError;
        if (!spare || stop.signal.aborted) throw error;
        leftOut += asked.splice(oldest, asked[oldest + 1]?.role === "assistant" ? 2 : 1).length;
      }
    }
    if (stop.signal.aborted) change({ finish: "cancelled" });
  } catch (error) {
    if (stop.signal.aborted) change({ finish: "cancelled" });
    else change({ finish: "error", error: sentence(error).text });
    if (error instanceof ClosedError) lostModel();
  } finally {
    clearTimeout(drawing);
    const elapsed = performance.now() - first;
    const measured = answerOf(id, turn);
    change(
      {
        text,
        tokens,
        ...(first && measured?.firstMs === undefined ? { firstMs: first - started } : {}),
        ...(count > 1 && measured?.speed === undefined ? { speed: (1000 * (count - 1)) / elapsed } : {}),
      },
      true,
    );
    if (live.value?.turn === turn) live.value = null;
    const shown = working.get(id);
    if (shown && current.value.id !== id) working.delete(id);
    announcement.value = splitThoughts(text).text || t("noAnswer");
    void refreshUsage();
  }
}

function answerOf(id: string, turn: string): Answer | undefined {
  const found = conversation(id)?.turns.find((entry) => entry.id === turn);
  return found?.role === "assistant" ? found.answers.at(-1) : undefined;
}

async function generate(model: Model, asked: Message[], begun: string, signal: AbortSignal): Promise<Generation> {
  if (!begun && model.info.hasChatTemplate) return model.chat(asked, { ...options(), signal });
  const prompt = model.info.hasChatTemplate ? await model.applyChatTemplate(asked) : plain(asked);
  return model.complete(prompt + begun, { ...options(), signal });
}

/** A model without a template continues text: the conversation as one. */
function plain(asked: Message[]): string {
  return asked.map((message) => String(message.content)).join("\n\n");
}
