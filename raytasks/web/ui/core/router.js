/**
 * The router: every state of the page is in the URL's fragment, `#/tasks?state=FAILED`.
 *
 * A fragment works below any path, and a copied URL restores the view.
 */
import { signal } from "../lib.js";

/** Returns the present place: its path, and its query as URLSearchParams. */
function read() {
  const text = location.hash.startsWith("#/") ? location.hash.slice(1) : "/";
  const [path, query = ""] = text.split(/\?(.*)/s);
  return { path, query: new URLSearchParams(query) };
}

/** The present place, as a signal of `{path, query}`. */
export const place = signal(read());

let shown = location.hash;

function follow() {
  if (location.hash === shown || (location.hash && !location.hash.startsWith("#/"))) return;
  shown = location.hash;
  place.value = read();
}

addEventListener("hashchange", follow);

/** Names of query values that stay when one goes to another view. */
const KEPT = ["namespace"];

/** Returns the link to a path with query values: texts, or lists of texts; empty ones are left out. */
export function href(path, values = {}) {
  const query = new URLSearchParams();
  for (const name of KEPT) {
    const kept = place.value.query.get(name);
    if (kept && !(name in values)) query.set(name, kept);
  }
  for (const [name, value] of Object.entries(values)) {
    for (const item of [value].flat()) if (item) query.append(name, item);
  }
  const text = query.toString();
  return `#${path}${text && `?${text}`}`;
}

/** Goes to a path. With `replace`, the present one is not kept in the history. */
export function go(path, values = {}, { replace = false } = {}) {
  const link = href(path, values);
  if (link === location.hash) return;
  if (replace) history.replaceState(null, "", link);
  else location.hash = link;
  follow(); // the browser's event comes later, and what is asked for now must build on this
}

/** Changes values of the query, and keeps the others. null removes one. */
export function setQuery(changes, options) {
  const values = {};
  for (const name of place.value.query.keys()) values[name] = place.value.query.getAll(name);
  go(place.value.path, { ...values, ...changes }, options);
}

/** Returns a part of a path without its escapes; null if they are malformed. */
function unescaped(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return null;
  }
}

/** Returns the values of a path's `:names` if it fits the pattern, else null. */
export function match(pattern, path) {
  const wanted = pattern.split("/");
  const given = path.split("/");
  if (wanted.length !== given.length) return null;
  const values = {};
  for (const [index, part] of wanted.entries()) {
    if (part.startsWith(":")) {
      const value = unescaped(given[index]);
      if (value === null) return null;
      values[part.slice(1)] = value;
    } else if (part !== given[index]) return null;
  }
  return values;
}
