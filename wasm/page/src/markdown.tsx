/** A model's Markdown as elements. Marked takes it apart; what comes out is built node by node, so that no text of a
 * model ever becomes HTML: tags that it writes are shown as text, addresses are limited to a few schemes, and images
 * are links, for a picture fetched from elsewhere would tell a stranger that it was asked for.
 */
import { Lexer, type Token, type Tokens } from "marked";
import type { ComponentChildren, VNode } from "preact";
import { CopyButton } from "./components/copy";
import { t } from "./i18n";

const lexer = { gfm: true, breaks: true };

export function Markdown({ text }: { text: string }) {
  return <div class="prose">{blocks(new Lexer(lexer).lex(text))}</div>;
}

/** The target of a link, or null where it is of a kind that is not followed. */
export function safeHref(href: string): string | null {
  try {
    const url = new URL(href);
    return ["https:", "http:", "mailto:"].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

const entities: Record<string, string> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0" };

/** Marked leaves character references as they were written. */
export function decode(text: string): string {
  return text.replace(/&(?:#(\d{1,7})|#x([0-9a-f]{1,6})|([a-z]+));/gi, (whole, decimal, hex, name) => {
    if (name !== undefined) return entities[String(name).toLowerCase()] ?? whole;
    const code = decimal === undefined ? parseInt(String(hex), 16) : Number(decimal);
    return code > 0 && code <= 0x10ffff && !(code >= 0xd800 && code < 0xe000) ? String.fromCodePoint(code) : "\ufffd";
  });
}

function blocks(tokens: Token[]): ComponentChildren[] {
  return tokens.map(block);
}

function block(token: Token): ComponentChildren {
  switch (token.type) {
    case "space":
    case "def":
      return null;
    case "hr":
      return <hr />;
    case "heading": {
      // The page has headings of its own: those of an answer come below them.
      const { depth, tokens } = token as Tokens.Heading;
      const Level = `h${Math.min(depth + 1, 6)}` as "h2";
      return <Level class={`h${Math.min(depth, 4)}`}>{inlines(tokens)}</Level>;
    }
    case "code": {
      const { text, lang } = token as Tokens.Code;
      return <CodeBlock text={text} language={/^[\w+#.-]{1,24}/.exec(lang ?? "")?.[0] ?? ""} />;
    }
    case "blockquote":
      return <blockquote>{blocks((token as Tokens.Blockquote).tokens)}</blockquote>;
    case "list":
      return list(token as Tokens.List);
    case "table":
      return table(token as Tokens.Table);
    case "paragraph":
      return <p>{inlines((token as Tokens.Paragraph).tokens)}</p>;
    case "html":
      return <p>{(token as Tokens.HTML).text}</p>;
    case "text": {
      const { tokens, text } = token as Tokens.Text;
      return tokens ? inlines(tokens) : decode(text);
    }
    case "checkbox":
      return inline(token);
    default:
      return <p>{token.raw}</p>;
  }
}

function list({ ordered, start, items }: Tokens.List): VNode {
  const entries = items.map((item) => <li class={item.task ? "task" : undefined}>{blocks(item.tokens)}</li>);
  return ordered ? <ol start={typeof start === "number" ? start : 1}>{entries}</ol> : <ul>{entries}</ul>;
}

function table({ header, rows, align }: Tokens.Table): VNode {
  const side = (at: number) => (align[at] ? `align-${align[at]}` : undefined);
  return (
    <div class="table" tabIndex={0} role="group">
      <table>
        <thead>
          <tr>
            {header.map((cell, at) => (
              <th class={side(at)}>{inlines(cell.tokens)}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr>
              {row.map((cell, at) => (
                <td class={side(at)}>{inlines(cell.tokens)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function CodeBlock({ text, language }: { text: string; language: string }) {
  return (
    <figure class="code">
      <figcaption>
        <span>{language}</span>
        <CopyButton text={text} label={t("copyCode")} />
      </figcaption>
      <pre tabIndex={0}>
        <code>{text}</code>
      </pre>
    </figure>
  );
}

function inlines(tokens: Token[] | undefined): ComponentChildren[] {
  return (tokens ?? []).map(inline);
}

function inline(token: Token): ComponentChildren {
  switch (token.type) {
    case "strong":
      return <strong>{inlines((token as Tokens.Strong).tokens)}</strong>;
    case "em":
      return <em>{inlines((token as Tokens.Em).tokens)}</em>;
    case "del":
      return <del>{inlines((token as Tokens.Del).tokens)}</del>;
    case "codespan":
      return <code>{(token as Tokens.Codespan).text}</code>;
    case "br":
      return <br />;
    case "link": {
      const { href, tokens } = token as Tokens.Link;
      return <Link href={href}>{inlines(tokens)}</Link>;
    }
    case "image": {
      const { href, text } = token as Tokens.Image;
      return <Link href={href}>{text || href}</Link>;
    }
    case "checkbox":
      return <span class="check">{(token as Tokens.Checkbox).checked ? "☑" : "☐"} </span>;
    case "escape":
      return (token as Tokens.Escape).text;
    case "text": {
      const { tokens, text } = token as Tokens.Text;
      return tokens ? inlines(tokens) : decode(text);
    }
    default:
      return token.raw;
  }
}

function Link({ href, children }: { href: string; children: ComponentChildren }) {
  const target = safeHref(href);
  if (target === null) return <>{children}</>;
  return (
    <a href={target} target="_blank" rel="noopener noreferrer nofollow" title={target}>
      {children}
    </a>
  );
}
