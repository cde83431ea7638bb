/** The page's words in English and Chinese. `{name}` is filled in. */
import { computed, signal } from "@preact/signals";
import type { Localised } from "./types";
import { remember, remembered } from "./keep";
import { en } from "./words-en";
import { zh } from "./words-zh";

export type Word = keyof typeof en;
export type Language = "en" | "zh";

const words: Record<Language, Record<Word, string>> = { en, zh };

/** What the visitor chose; "auto" follows the browser. */
export const languageChoice = signal<Language | "auto">(remembered("language", "auto"));
export const language = computed<Language>(() => {
  if (languageChoice.value !== "auto") return languageChoice.value;
  return navigator.languages.find((tag) => /^(en|zh)/i.test(tag))?.toLowerCase().startsWith("zh") ? "zh" : "en";
});
export const locale = computed(() => (language.value === "zh" ? "zh-CN" : "en"));

export function chooseLanguage(choice: Language | "auto"): void {
  languageChoice.value = choice;
  remember("language", choice);
}

export function t(word: Word, values: Record<string, string | number> = {}): string {
  return words[language.value][word].replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));
}

export function localised(text: Localised | undefined): string {
  if (text === undefined || typeof text === "string") return text ?? "";
  return text[language.value] ?? text.en;
}

/** 98,362,432 as "98 MB"; digits as the language writes them. */
export function bytesText(bytes: number): string {
  const [unit, size, digits] = bytes >= 1e9 ? ["GB", 1e9, 2] : bytes >= 1e6 ? ["MB", 1e6, 0] : ["kB", 1e3, 0];
  return `${numberText(bytes / (size as number), digits as number)} ${unit}`;
}

export function numberText(value: number, digits = 0): string {
  return value.toLocaleString(locale.value, { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

export function percentText(probability: number): string {
  const percent = 100 * probability;
  return percent > 0 && percent < 0.1 ? "<0.1%" : `${numberText(percent, percent < 99.95 ? 1 : 0)}%`;
}
