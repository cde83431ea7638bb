/** Models that reason write their thoughts first, between <think> and </think>. */
export function splitThoughts(text: string): { thoughts: string; text: string; thinking: boolean } {
  const begin = /^\s*<think>/.exec(text);
  if (!begin) return { thoughts: "", text, thinking: false };
  const rest = text.slice(begin[0].length);
  const end = rest.indexOf("</think>");
  if (end < 0) return { thoughts: rest.trim(), text: "", thinking: true };
  return { thoughts: rest.slice(0, end).trim(), text: rest.slice(end + 8).trimStart(), thinking: false };
}
