/** Builds the page into dist/: hashed files of its own, the library's worker and modules in engine/ as they are, the
 * headers for servers in headers.json, and sw.js with the list of all of it.
 *
 * PYEDGE_PAGE_LIBRARY (folder of the built library) and PYEDGE_PAGE_OUT are for the tests.
 */
import { createHash } from "node:crypto";
import { cpSync, existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { defineConfig, type Plugin } from "vite";

const here = import.meta.dirname;
const library = resolve(here, process.env["PYEDGE_PAGE_LIBRARY"] ?? "../dist");
const headers = JSON.parse(readFileSync(join(here, "headers.json"), "utf8")) as Record<string, string>;

/** Of the library's folder, what its worker needs: the page has the rest in its own script. */
const runs = (name: string) => /^(worker\.js|pyedge-.*\.(mjs|wasm))$/.test(name);

if (!existsSync(join(library, "index.js"))) throw new Error(`${library}: the library is not built; \`make wasm\` builds all`);

function page(): Plugin {
  let out = "";
  return {
    name: "pyedge-page",
    enforce: "pre",
    transform(code, id) {
      // The library would look for its worker beside itself; the page tells it a folder, and needs no copy there.
      if (id === join(library, "index.js")) return code.replace(/new URL\((["'])\.\/?[\w.]*\1, import\.meta\.url\)/g, "new URL(document.baseURI)");
      return undefined;
    },
    configResolved(config) {
      out = resolve(here, config.build.outDir);
    },
    transformIndexHtml() {
      // What a <meta> may say; with it, no string of the page becomes HTML or a script's address unseen.
      const policy = (headers["Content-Security-Policy"] ?? "").replace(/;\s*frame-ancestors [^;]*/, "");
      const content = `${policy}; require-trusted-types-for 'script'; trusted-types default`;
      const meta = { tag: "meta", attrs: { "http-equiv": "Content-Security-Policy", content } };
      return [{ ...meta, injectTo: "head-prepend" }];
    },
    closeBundle() {
      for (const name of readdirSync(library).filter(runs)) cpSync(join(library, name), join(out, "engine", name));
      writeFileSync(join(out, "headers.json"), JSON.stringify(headers, null, 2) + "\n");

      const listed = readdirSync(out, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name).slice(out.length + 1).replaceAll("\\", "/"))
        .filter((name) => name !== "sw.js" && name !== "headers.json")
        .sort();
      const digest = createHash("sha256");
      for (const name of listed) digest.update(name).update(readFileSync(join(out, name)));
      const worker = join(out, "sw.js");
      let code = readFileSync(worker, "utf8");
      for (const [mark, value] of [
        ["__FILES__", listed],
        ["__VERSION__", digest.digest("hex").slice(0, 16)],
        ["__HEADERS__", headers],
      ] as const) {
        if (!code.includes(mark)) throw new Error(`sw.js: ${mark} is gone; the build cannot fill it in`);
        code = code.replaceAll(mark, () => JSON.stringify(value));
      }
      writeFileSync(worker, code);
    },
  };
}

export default defineConfig({
  base: "./", // any folder of any host
  root: here,
  plugins: [page()],
  resolve: { alias: { pyedge: join(library, "index.js") } },
  build: {
    outDir: process.env["PYEDGE_PAGE_OUT"] ?? "dist",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    license: { fileName: "licences.md" },
    rollupOptions: {
      external: /^node:/, // what the library asks for only in Node
      input: { index: join(here, "index.html"), sw: join(here, "src/sw.ts") },
      output: { entryFileNames: (chunk) => (chunk.name === "sw" ? "sw.js" : "assets/[name]-[hash].js") },
    },
  },
});
