/** What can go wrong, by kind. Each message is one sentence that may be shown: what was wrong, where, and what to do.
 * Wrong arguments are `TypeError` and `RangeError`; an aborted load rejects with the signal's own reason. */

export type ErrorCode =
  | "error"
  | "model-file"
  | "unsupported"
  | "context-overflow"
  | "adapter"
  | "out-of-memory"
  | "network"
  | "storage"
  | "busy"
  | "closed"
  | "cancelled";

/** Base of all failures that the library reports. */
export class PyEdgeError extends Error {
  override readonly name: string = "PyEdgeError";
  constructor(
    message: string,
    readonly code: ErrorCode = "error",
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** The file is no model, is cut short or damaged, or contradicts its format; the message says where. */
export class ModelFileError extends PyEdgeError {
  override readonly name = "ModelFileError";
  constructor(message: string, options?: ErrorOptions) {
    super(message, "model-file", options);
  }
}

/** A well-formed file or request, or a browser, of a kind that this build does not run. */
export class UnsupportedError extends PyEdgeError {
  override readonly name = "UnsupportedError";
  constructor(message: string, options?: ErrorOptions) {
    super(message, "unsupported", options);
  }
}

/** The tokens do not fit: `needed` positions were asked for, the context has `capacity`. */
export class ContextOverflowError extends PyEdgeError {
  override readonly name = "ContextOverflowError";
  constructor(
    message: string,
    readonly needed = 0,
    readonly capacity = 0,
  ) {
    super(message, "context-overflow");
  }
}

/** An adapter is damaged or was made for another model. */
export class AdapterError extends PyEdgeError {
  override readonly name = "AdapterError";
  constructor(message: string, options?: ErrorOptions) {
    super(message, "adapter", options);
  }
}

/** No memory left, or more than 32-bit WebAssembly can address. */
export class OutOfMemoryError extends PyEdgeError {
  override readonly name = "OutOfMemoryError";
  constructor(message: string, options?: ErrorOptions) {
    super(message, "out-of-memory", options);
  }
}

/** The server refused, or the connection dropped and could not be resumed. */
export class NetworkError extends PyEdgeError {
  override readonly name = "NetworkError";
  constructor(
    message: string,
    readonly status?: number,
    options?: ErrorOptions,
  ) {
    super(message, "network", options);
  }
}

/** The cache could not be asked or changed. Loading itself never fails because of the cache. */
export class StorageError extends PyEdgeError {
  override readonly name = "StorageError";
  constructor(message: string, options?: ErrorOptions) {
    super(message, "storage", options);
  }
}

/** Another generation of this model is running: end it first, or abort it through its signal. */
export class BusyError extends PyEdgeError {
  override readonly name = "BusyError";
  constructor(message: string) {
    super(message, "busy");
  }
}

/** The model was closed, or its worker ended. */
export class ClosedError extends PyEdgeError {
  override readonly name = "ClosedError";
  constructor(message: string, options?: ErrorOptions) {
    super(message, "closed", options);
  }
}
