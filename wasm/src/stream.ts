/** From token bytes to text that may be shown: whole characters, and nothing of a stop string. A token may end inside a
 * character, and a stop string may lie across tokens: both are held back until they are decided. */
export class TextStream {
  private readonly decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  private held = "";
  /** A stop string was met. */
  stopped = false;

  constructor(private readonly stops: readonly string[] = []) {}

  /** The text that is settled now, after these bytes. */
  push(bytes: Uint8Array<ArrayBuffer>): string {
    return this.settle(this.decoder.decode(bytes, { stream: true }));
  }

  /** What was held back; the bytes of an unfinished character become U+FFFD. */
  finish(): string {
    if (this.stopped) return "";
    const settled = this.settle(this.decoder.decode());
    const rest = this.stopped ? "" : this.held;
    this.held = "";
    return settled + rest;
  }

  private settle(text: string): string {
    if (this.stopped) return "";
    if (!this.stops.length) return text;
    const held = this.held + text;
    const cuts = this.stops.map((stop) => held.indexOf(stop)).filter((cut) => cut >= 0);
    if (cuts.length) {
      this.stopped = true;
      this.held = "";
      return held.slice(0, Math.min(...cuts));
    }
    const keep = Math.max(...this.stops.map((stop) => overlap(held, stop)));
    this.held = held.slice(held.length - keep);
    return held.slice(0, held.length - keep);
  }
}

/** Length of the longest end of `text` that begins `stop` and is not all of it. */
function overlap(text: string, stop: string): number {
  for (let size = Math.min(text.length, stop.length - 1); size > 0; size--)
    if (text.endsWith(stop.slice(0, size))) return size;
  return 0;
}
