/** What the page keeps: conversations, answers, and the list of models that it offers. */
import type { FinishReason, LoraInfo } from "pyedge";

/** A token that the model could have chosen: id, text, probability from 0 to 1. */
export type Choice = [id: number, text: string, probability: number];

/** A token that it did choose, and the best choices that there were. */
export interface TokenRecord {
  id: number;
  text: string;
  probability: number;
  top: Choice[];
}

export interface Answer {
  text: string;
  tokens: TokenRecord[];
  /** Absent while the answer is written, and for one whose tab was closed meanwhile. */
  finish?: FinishReason | "error";
  /** One sentence: why it failed. */
  error?: string;
  model: string;
  /** What was attached when it began. */
  adapters: Record<string, number>;
  promptTokens?: number;
  /** Tokens each second after the first, and milliseconds until the first. */
  speed?: number;
  firstMs?: number;
  /** So many of the oldest messages did not fit and were left out. */
  leftOut?: number;
}

export interface UserTurn {
  id: string;
  role: "user";
  text: string;
}

export interface AssistantTurn {
  id: string;
  role: "assistant";
  /** One, and one more for each retry. */
  answers: Answer[];
  shown: number;
}

export type Turn = UserTurn | AssistantTurn;

export interface Summary {
  id: string;
  title: string;
  created: number;
  updated: number;
}

export interface Conversation extends Summary {
  system: string;
  turns: Turn[];
}

/** A text in the languages that the page speaks, or one for all. */
export type Localised = string | { en: string; zh?: string };

/** A model of `models.json`; `url` is relative to the page. Of a split file, the parts in order. */
export interface CatalogueModel {
  name: string;
  url: string | string[];
  about?: Localised;
  bytes?: number;
  sha256?: string;
  licence?: string;
  /** On the computer that serves the page. */
  local?: boolean;
}

export interface CatalogueAdapter {
  name: string;
  url: string;
  scale?: number;
}

/** What `models.json` beside the page says. */
export interface Catalogue {
  models: CatalogueModel[];
  adapters?: CatalogueAdapter[];
  /** Name of the model to load as soon as the page opens. */
  start?: string;
}

/** Where the loaded model came from, to show it and to load it again. */
export interface ModelOrigin {
  name: string;
  source: string | string[] | File[];
  bytes?: number;
  sha256?: string;
}

export interface Adapter extends Pick<LoraInfo, "name" | "bytes" | "rank"> {
  on: boolean;
  scale: number;
}
