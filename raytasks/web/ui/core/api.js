/**
 * The client of the public API: requests by `fetch`, and errors as the API's problem documents.
 */
import { signal } from "../lib.js";

/** The service's root. The page is at `ui/` below it. */
export const ROOT = new URL("../", document.baseURI.split("#")[0]);

/** What requests carry: the API key, or "". */
export const credentials = { key: "" };

/** Called when the service does not accept the key any more. */
export const onUnauthorized = { call: () => {} };

/** How far the service's clock is ahead of this one, in milliseconds. */
export const clockAhead = signal(0);

/** The statuses that mend themselves: too slow, too early, too many requests. */
const LATER = [408, 425, 429];

const MAX_REST_MS = 3_600_000;

/** An answer that is no success, or no answer at all (`status` 0). `restMs` is its `Retry-After`. */
export class ApiError extends Error {
  constructor(status, detail, errors = [], restMs = 0) {
    super(detail);
    this.status = status;
    this.errors = errors;
    this.restMs = restMs;
  }

  /** What to show: `missing`, `refused`, `invalid`, `away` or `failed`. */
  get kind() {
    if (this.status === 0 || this.status >= 502 || LATER.includes(this.status)) return "away";
    if (this.status === 404) return "missing";
    if (this.status === 401 || this.status === 403) return "refused";
    if (this.status < 500) return "invalid";
    return "failed";
  }
}

/** Returns the URL of a path of the API, with query values: texts or lists; null is left out. */
export function urlOf(path, query = {}) {
  const url = new URL(path.replace(/^\//, ""), ROOT);
  for (const [name, value] of Object.entries(query)) {
    for (const item of [value].flat()) {
      if (item !== null && item !== undefined && item !== "") url.searchParams.append(name, item);
    }
  }
  return url;
}

/**
 * Sends a request. Returns the Response of a success; throws ApiError, or AbortError.
 *
 * An answer in JSON with one of the statuses in `accepts` is a success, too.
 */
export async function send(method, path, { query, body, headers, abort, accepts = [] } = {}) {
  const sent = new Headers(headers);
  if (credentials.key) sent.set("Authorization", `Bearer ${credentials.key}`);
  if (body !== undefined) sent.set("Content-Type", "application/json");
  const url = urlOf(path, query);
  let answer;
  try {
    answer = await fetch(url, {
      method, body, headers: sent, signal: abort, credentials: "omit", cache: "no-store",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "the service does not answer");
  }
  noteClock(answer.headers.get("date"));
  if (answer.ok || (accepts.includes(answer.status) && isJson(answer))) return answer;
  const problem = await problemOf(answer);
  if (answer.status === 401) onUnauthorized.call(problem);
  throw problem;
}

/** Sends a request, and returns the answer's JSON, or true if it has none. `body` is a value, or a string of JSON. */
export async function ask(method, path, options = {}) {
  const { body } = options;
  const text = body === undefined || typeof body === "string" ? body : JSON.stringify(body);
  const answer = await send(method, path, { ...options, body: text });
  return answer.status === 204 ? true : answer.json();
}

/** Returns the JSON of a GET. */
export function get(path, query, abort) {
  return ask("GET", path, { query, abort });
}

function isJson(answer) {
  return (answer.headers.get("content-type") ?? "").includes("json");
}

/** Returns `Retry-After` in milliseconds: it has seconds, or a date. */
function restOf(answer) {
  const text = answer.headers.get("retry-after") ?? "";
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return ms > 0 ? Math.min(ms, MAX_REST_MS) : 0; // without the header it is no number
}

async function problemOf(answer) {
  const rest = restOf(answer);
  if (!isJson(answer)) {
    // The ingress answers so while no replica is there.
    const status = answer.status === 404 || answer.status >= 500 ? 502 : answer.status;
    return new ApiError(status, `the service answered ${answer.status}`, [], rest);
  }
  const document = await answer.json().catch(() => ({}));
  const detail = document.detail ?? document.title ?? `the service answered ${answer.status}`;
  return new ApiError(answer.status, detail, document.errors, rest);
}

function noteClock(date) {
  const ahead = Date.parse(date) - Date.now();
  // The header has whole seconds; less than two are no difference.
  if (Number.isFinite(ahead)) clockAhead.value = Math.abs(ahead) > 2000 ? ahead : 0;
}
