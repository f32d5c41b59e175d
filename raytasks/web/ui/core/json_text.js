/**
 * JSON as it was received: parts of a document as text, and indentation that changes no token.
 *
 * `JSON.parse` would round integers beyond 2^53, and forget how a number was written.
 */

const SPACE = /[ \t\n\r]*/y;
const STRING = /"(?:[^"\\]|\\.)*"/ys;
const PLAIN = /[^\s,\]}]+/y;

function find(pattern, text, at) {
  pattern.lastIndex = at;
  return pattern.exec(text)?.[0].length ?? 0;
}

/** Returns where the value that begins at `at` ends. */
function endOf(text, at) {
  if (text[at] === '"') return at + find(STRING, text, at);
  if (text[at] !== "{" && text[at] !== "[") return at + find(PLAIN, text, at);
  let depth = 0;
  let index = at;
  while (index < text.length) {
    const char = text[index];
    if (char === '"') { index += find(STRING, text, index); continue; }
    if (char === "{" || char === "[") depth += 1;
    if (char === "}" || char === "]") depth -= 1;
    index += 1;
    if (depth === 0) return index;
  }
  return index;
}

/** Returns the members of a JSON object as texts, by name. */
export function members(text) {
  const found = {};
  let at = find(SPACE, text, 0) + 1;
  for (;;) {
    at += find(SPACE, text, at);
    if (text[at] !== '"') return found;
    const nameEnd = endOf(text, at);
    const name = JSON.parse(text.slice(at, nameEnd));
    at = nameEnd + find(SPACE, text, nameEnd) + 1;
    at += find(SPACE, text, at);
    const end = endOf(text, at);
    found[name] = text.slice(at, end);
    at = end + find(SPACE, text, end);
    if (text[at] !== ",") return found;
    at += 1;
  }
}

/** Returns a JSON text with line breaks and two spaces a level. Each token stays as it is. */
export function indented(text) {
  let out = "";
  let depth = 0;
  let at = 0;
  const line = () => `\n${"  ".repeat(depth)}`;
  while (at < text.length) {
    at += find(SPACE, text, at);
    const char = text[at];
    if (char === undefined) break;
    if (char === '"') {
      const end = endOf(text, at);
      out += text.slice(at, end);
      at = end;
      continue;
    }
    at += 1;
    if (char === "{" || char === "[") {
      const next = at + find(SPACE, text, at);
      if (text[next] === "}" || text[next] === "]") { out += char + text[next]; at = next + 1; continue; }
      depth += 1;
      out += char + line();
    } else if (char === "}" || char === "]") {
      depth -= 1;
      out += line() + char;
    } else if (char === ",") out += `,${line()}`;
    else if (char === ":") out += ": ";
    else out += char;
  }
  return out;
}
