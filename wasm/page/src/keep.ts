/** Small settings in the browser's local storage. Where storage is refused they last as long as the tab. */

const prefix = "pyedge.";

export function remembered<T>(name: string, otherwise: T): T {
  try {
    const text = localStorage.getItem(prefix + name);
    return text === null ? otherwise : (JSON.parse(text) as T);
  } catch {
    return otherwise;
  }
}

export function remember(name: string, value: unknown): void {
  try {
    localStorage.setItem(prefix + name, JSON.stringify(value));
  } catch {
    // Refused or full: nothing that the visitor must do.
  }
}
