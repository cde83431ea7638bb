/** What is open on the page. */
import { signal } from "@preact/signals";
import { remember, remembered } from "./keep";

export type Panel = "model" | "settings" | "bench" | "keys";

export const panel = signal<Panel | null>(null);
/** On wide screens beside the conversation, on narrow ones over it. */
export const sidebar = signal<boolean>(matchMedia("(min-width: 900px)").matches && remembered("sidebar", true));
/** The user's turn that is being edited. */
export const editing = signal<string | null>(null);

export function toggleSidebar(open = !sidebar.value): void {
  sidebar.value = open;
  if (matchMedia("(min-width: 900px)").matches) remember("sidebar", open);
}

export function closeSidebarIfOver(): void {
  if (!matchMedia("(min-width: 900px)").matches) sidebar.value = false;
}

export function focusMessage(): void {
  document.getElementById("message")?.focus();
}
