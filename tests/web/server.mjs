/** A static host for the page, as good or as bad as a test wants it. */
import { createReadStream, existsSync, readFileSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";

const types = {
  ".css": "text/css",
  ".gguf": "application/octet-stream",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".json": "application/json",
  ".mjs": "text/javascript",
  ".svg": "image/svg+xml",
  ".wasm": "application/wasm",
  ".webmanifest": "application/manifest+json",
};

/** Serves `folder` below `base`.
 *
 * - `files`: more files by path, a Buffer or the path of one on disk; they win over the folder.
 * - `headers`: send what the page's headers.json says; false is a host that cannot.
 * - `breakAt`: by path, the share of a file after which the connection drops: each time, or as many times as
 *   `breaks` says.
 * - `ranges`: false is a host that sends files from their beginning only.
 * - `claims`: by path, the size that the host says a file has.
 * - `delay`: by path, milliseconds between pieces of 64 kB.
 *
 * `asked` lists the requests with their Range, `requests` their paths alone.
 */
export async function serve(folder, options = {}) {
  const { base = "/", files = {}, headers = true, breakAt = {}, breaks = {}, ranges = true, claims = {}, delay = {} } = options;
  const sent = headers ? JSON.parse(readFileSync(join(folder, "headers.json"), "utf8")) : {};
  const requests = [];
  const asked = [];
  const server = createServer(async (request, response) => {
    const path = decodeURIComponent(new URL(request.url, "http://host").pathname);
    requests.push(path);
    asked.push({ path, range: request.headers.range });
    const name = path.startsWith(base) ? normalize(path.slice(base.length) || "index.html") : null;
    const extra = name === null ? undefined : files[name];
    const disk = typeof extra === "string" ? extra : name !== null && !name.startsWith("..") ? join(folder, name) : "";
    const fields = { ...sent, "Content-Type": types[extname(path)] ?? "text/html; charset=utf-8", ...(ranges && { "Accept-Ranges": "bytes" }) };
    if (!Buffer.isBuffer(extra) && !(disk && existsSync(disk) && statSync(disk).isFile())) {
      response.writeHead(404, { ...sent, "Content-Type": "text/plain" }).end("none");
      return;
    }
    const size = Buffer.isBuffer(extra) ? extra.length : statSync(disk).size;
    const range = ranges && /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
    const first = range ? Number(range[1]) : 0;
    const end = range?.[2] ? Math.min(size, Number(range[2]) + 1) : size;
    if (range) fields["Content-Range"] = `bytes ${first}-${end - 1}/${size}`;
    response.writeHead(range ? 206 : 200, { ...fields, "Content-Length": (claims[name] ?? end) - first, ETag: `"${size}"` });
    const broken = breakAt[name] !== undefined && (breaks[name] === undefined || breaks[name]-- > 0);
    const stop = broken ? Math.floor(size * breakAt[name]) : Infinity;
    if (Buffer.isBuffer(extra) || delay[name] || broken) {
      const bytes = Buffer.isBuffer(extra) ? extra : readFileSync(disk);
      for (let at = first; at < end && !response.destroyed; at += 65536) {
        if (at >= stop) return response.destroy();
        response.write(bytes.subarray(at, Math.min(end, at + 65536, stop)));
        if (delay[name]) await new Promise((done) => setTimeout(done, delay[name]));
        while (response.writableNeedDrain && !response.destroyed) await new Promise((done) => setTimeout(done, 1));
      }
      if (end > stop) return response.destroy();
      response.end();
    } else createReadStream(disk, { start: first, end: end - 1 }).pipe(response);
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  server.unref(); // a test that fails before it closes its host must not keep the process
  const origin = `http://127.0.0.1:${server.address().port}`;
  const close = async () => {
    if (!server.listening) return;
    server.closeAllConnections();
    await new Promise((done) => server.close(done));
  };
  return { url: origin + base, origin, requests, asked, files, close };
}
