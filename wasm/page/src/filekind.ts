/** Whether dropped files are an adapter or a model, told from their first bytes. Only a guess for choosing the door:
 * the library reads and refuses for itself. */

const NANO_LORA = 10; // the field `arch` of Nano's header

export async function isAdapter(files: readonly File[]): Promise<boolean> {
  for (const file of files) {
    if (/\.safetensors$/i.test(file.name)) return true;
    const bytes = new Uint8Array(await file.slice(0, 1 << 16).arrayBuffer());
    const text = new TextDecoder("latin1").decode(bytes);
    if (text.startsWith("GGUF")) {
      // A string value: its type (8), its length (7), then the word.
      if (text.includes("general.type\x08\0\0\0\x07\0\0\0\0\0\0\0adapter")) return true;
    } else if (text.startsWith("S4DBMLRU") && bytes.length >= 20) {
      if (new DataView(bytes.buffer).getInt32(16, true) === NANO_LORA) return true;
    }
  }
  return false;
}
