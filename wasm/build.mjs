// The package's JavaScript: the library for pages, the worker with the template engine in it, and the types.
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));
const common = {
  absWorkingDir: here,
  outdir: "dist",
  bundle: true,
  format: "esm",
  target: "es2022",
  external: ["node:*"],
  legalComments: "eof",
  logLevel: "warning",
};
// The page's own build makes the library small; the worker is taken as it is.
await build({ ...common, entryPoints: ["src/index.ts", "src/isolate.ts"] });
await build({ ...common, entryPoints: ["src/worker.ts"], minify: true });
execFileSync("npx", ["tsc"], { cwd: here, stdio: "inherit" });
