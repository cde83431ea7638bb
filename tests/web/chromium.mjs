/** Which Chromium, and how it is started: for tests and benchmarks alike. */
import { existsSync } from "node:fs";

export const executable = [process.env.PYEDGE_CHROMIUM, "/usr/bin/chromium", "/usr/bin/google-chrome"].find(
  (path) => path && existsSync(path),
);

/** Options of Playwright's launch and launchPersistentContext. */
export const launching = {
  executablePath: executable,
  headless: true,
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
};
