/** What a visitor may paste where an address is asked for. */

/** The address that is fetched, or null where it is none that this page may fetch: https, or this very host or
 * computer. Pages of Hugging Face files, and `owner/repo/file`, become the file itself. */
export function fetchable(text: string, base = document.baseURI): string | null {
  const trimmed = text.trim();
  const short = /^(?:hf:)?([\w.-]+\/[\w.-]+)\/((?:[\w.-]+\/)*[\w.-]+\.(?:gguf|bin|safetensors))$/i.exec(trimmed);
  const written = short ? `https://huggingface.co/${short[1]}/resolve/main/${short[2]}` : trimmed;
  let url: URL;
  try {
    url = new URL(written);
  } catch {
    return null;
  }
  if (url.hostname === "huggingface.co") url.pathname = url.pathname.replace(/^(\/[^/]+\/[^/]+)\/blob\//, "$1/resolve/");
  const near = url.origin === new URL(base).origin || /^(localhost|127\.0\.0\.1)$/.test(url.hostname);
  if (url.protocol !== "https:" && !(url.protocol === "http:" && near)) return null;
  return url.href;
}

/** The file's name without its ending. */
export function nameOf(address: string): string {
  const path = address.split(/[?#]/)[0] ?? "";
  const file = path.split("/").pop() ?? "";
  let decoded = file;
  try {
    decoded = decodeURIComponent(file);
  } catch {
    // A stray % is part of the name.
  }
  return decoded.replace(/\.(gguf|bin|safetensors)$/i, "").replace(/-00001-of-\d{5}$/, "") || address;
}
