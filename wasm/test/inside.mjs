/** Parts of the library that pages do not see, for the tests: bundled from the sources when first asked for. */
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const source = (name) => fileURLToPath(new URL(`../src/${name}.ts`, import.meta.url));
const bundle = await build({
  stdin: {
    contents: `export { Sha256 } from ${JSON.stringify(source("sha256"))};
               export { TextStream } from ${JSON.stringify(source("stream"))};
               export { isolated } from ${JSON.stringify(source("isolate"))};`,
    resolveDir: fileURLToPath(new URL("..", import.meta.url)),
  },
  bundle: true,
  format: "esm",
  write: false,
  external: ["node:*"],
});
export const { Sha256, TextStream, isolated } = await import(
  `data:text/javascript;base64,${Buffer.from(bundle.outputFiles[0].contents).toString("base64")}`
);
