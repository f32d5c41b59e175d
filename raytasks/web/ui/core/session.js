/**
 * Who is signed in: the key of this tab, what it may do, and the namespace that is shown.
 */
import { computed, signal } from "../lib.js";
import { credentials, get, onUnauthorized } from "./api.js";
import { place, setQuery } from "./router.js";

const STORED = "raytasks.key";
const DEFAULT_NAMESPACE = "default";

/** `loading`, `ready`, `key` (one is needed), or `failed`: `failure` says why. */
export const status = signal("loading");

/** Why it could not be found out who this tab is: an ApiError, or what is like one. */
export const failure = signal(null);

/** The answer of `GET /me`, or null. */
export const me = signal(null);

/** Why the last key was not accepted, or "". */
export const refusal = signal("");

/** Whether this service needs a key. */
export const needsKey = signal(false);

/** The namespace that is shown. */
export const namespace = computed(
  () => me.value?.namespace ?? place.value.query.get("namespace") ?? DEFAULT_NAMESPACE,
);

/** The query value of the namespace; null where the API needs none. */
export function inNamespace() {
  return { namespace: me.value?.namespace ? null : namespace.value };
}

/** Whether the key has a scope: `read`, `submit` or `operate`. */
export function may(scope) {
  return me.value?.scopes.includes(scope) ?? false;
}

/** Whether the key may ask about the whole service: it operates, and is bound to no namespace. */
export function mayOperateAll() {
  return may("operate") && me.value.namespace === null;
}

/** Returns a namespace as the query value `namespace` of a link; null for the usual one. */
export function namespaceInUrl(name) {
  return name === DEFAULT_NAMESPACE ? null : name;
}

/** Returns the values of a link into the namespace of a query, as of `inNamespace`. */
export function inUrl({ namespace: name }) {
  return { namespace: name && namespaceInUrl(name) };
}

/** Shows another namespace. */
export function choose(name) {
  setQuery({ namespace: namespaceInUrl(name), cursor: null });
}

let asking = new AbortController();

/** Finds out who this tab is. Called again after a failure, it leaves that to be seen meanwhile. */
export async function begin() {
  asking.abort();
  asking = new AbortController();
  const { signal: abort } = asking;
  credentials.key = sessionStorage.getItem(STORED) ?? "";
  const wrong = whatIsWrong(credentials.key);
  if (wrong || (!credentials.key && document.documentElement.dataset.key === "needed")) {
    forget(wrong);
    return;
  }
  if (status.peek() !== "failed") status.value = "loading";
  try {
    me.value = await get("/me", {}, abort);
    needsKey.value = credentials.key !== "";
    status.value = "ready";
  } catch (error) {
    if (abort.aborted) return;
    if (error.status === 401) {
      forget(credentials.key ? error.message : "");
      return;
    }
    const ours = !("kind" in error); // a mistake of the page is no outage
    failure.value = ours ? { kind: "broken", message: error.message } : error;
    status.value = "failed";
    if (ours) throw error;
  }
}

/** Returns why a text cannot be a key, or "". Headers take no others. */
function whatIsWrong(key) {
  const [bad] = key.match(/[^\x21-\x7e]/u) ?? [];
  if (!bad) return "";
  const code = bad.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
  return `this is no API key: it contains the character U+${code}, which may be invisible; copy the key again from where it was made`;
}

/** Signs in with a key, without invisible characters around it. It is kept for this tab alone. */
export async function signIn(text) {
  const key = text.replace(/^[\s\p{C}]+|[\s\p{C}]+$/gu, "");
  if (!key) return;
  sessionStorage.setItem(STORED, key);
  await begin();
}

/** Forgets the key, and asks for one. */
export function forget(why = "") {
  sessionStorage.removeItem(STORED);
  credentials.key = "";
  me.value = null;
  needsKey.value = true;
  refusal.value = why;
  status.value = "key";
}

onUnauthorized.call = (problem) => {
  if (status.value === "ready") forget(problem.message);
};
