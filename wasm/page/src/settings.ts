/** How the model is asked, and how the page looks. */
import { effect, signal } from "@preact/signals";
import { remember, remembered } from "./keep";

export interface Sampling {
  temperature: number;
  topK: number;
  topP: number;
  minP: number;
  repeatPenalty: number;
  maxTokens: number;
  /** Empty: another one each time. */
  seed: string;
}

/** The library's own defaults, with room for a longer answer. */
export const defaultSampling: Sampling = {
  temperature: 0.8,
  topK: 40,
  topP: 0.95,
  minP: 0.05,
  repeatPenalty: 1,
  maxTokens: 512,
  seed: "",
};

export type Theme = "auto" | "light" | "dark";

function kept<T>(name: string, otherwise: T) {
  const value = signal<T>(remembered(name, otherwise));
  effect(() => remember(name, value.value));
  return value;
}

export const sampling = kept<Sampling>("sampling", defaultSampling);
sampling.value = { ...defaultSampling, ...sampling.value }; // kept by an older page, perhaps
/** For conversations that are begun from now on. */
export const systemPrompt = kept<string>("system", "");
export const theme = kept<Theme>("theme", "auto");
export const tokenView = kept<boolean>("tokens", false);
/** Ask for probabilities with each token, so that the token view has something to show. */
export const recordTokens = kept<boolean>("record", true);
/** 0: as many as the library takes. */
export const threads = kept<number>("threads", 0);

effect(() => {
  if (theme.value === "auto") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme.value;
});
