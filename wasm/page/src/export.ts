import { t } from "./i18n";
import type { Conversation } from "./types";

export function asMarkdown({ title, system, turns }: Conversation): string {
  const parts = [`# ${title || t("untitled")}`];
  if (system.trim()) parts.push(`> ${system.trim().replaceAll("\n", "\n> ")}`);
  for (const turn of turns) {
    if (turn.role === "user") parts.push(`**${t("you")}:** ${turn.text}`);
    else {
      const answer = turn.answers[turn.shown];
      if (answer) parts.push(`**${answer.model}:** ${answer.text}`);
    }
  }
  return `${parts.join("\n\n")}\n`;
}

/** Offers a text as a download. */
export function save(name: string, text: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/markdown" }));
  link.download = `${name.replace(/[\\/:*?"<>|\u0000-\u001f]+/g, " ").trim() || "pyedge"}.md`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
