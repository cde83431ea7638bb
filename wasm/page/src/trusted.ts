/** The page demands trusted types (see vite.config.ts): no string becomes HTML at all, and only scripts of this very
 * folder become workers. */
interface Policies {
  createPolicy(name: string, rules: { createScriptURL(url: string): string }): unknown;
}

(globalThis as { trustedTypes?: Policies }).trustedTypes?.createPolicy("default", {
  createScriptURL(url) {
    const target = new URL(url, document.baseURI);
    const folder = new URL("./", document.baseURI);
    if (target.origin === folder.origin && target.pathname.startsWith(folder.pathname)) return url;
    throw new TypeError(`${url} is not a script of this page`);
  },
});
