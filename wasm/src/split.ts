/** The names of the parts of a split model. */

const SPLIT = /^(.*-)(\d{5})-of-(\d{5})(\.gguf)([?#].*)?$/;

/** The addresses of all parts, where the first one's name tells how many there are; else the address alone. */
export function splitNames(first: string): string[] {
  const match = SPLIT.exec(first);
  const count = Number(match?.[3] ?? 1);
  if (!match || Number(match[2]) !== 1 || count < 2 || count > 1000) return [first];
  const five = (n: number): string => String(n).padStart(5, "0");
  return Array.from({ length: count }, (_, i) => `${match[1]}${five(i + 1)}-of-${match[3]}${match[4]}${match[5] ?? ""}`);
}
