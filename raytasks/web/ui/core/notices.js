/**
 * Notices: short texts that say how an action ended. Screen readers read them out.
 */
import { signal } from "../lib.js";

const SHOWN_MS = 6000;
let count = 0;

/** The notices that are shown: `{id, text, bad}`. */
export const notices = signal([]);

/** Takes a notice away. */
export function dismiss(id) {
  notices.value = notices.value.filter((notice) => notice.id !== id);
}

function show(text, bad) {
  count += 1;
  const id = count;
  notices.value = [...notices.value, { id, text, bad }].slice(-4);
  if (!bad) setTimeout(() => dismiss(id), SHOWN_MS);
}

/** Says that something was done. It goes by itself. */
export function say(text) {
  show(text, false);
}

/** Says that something did not work. It stays until it is dismissed. */
export function complain(error) {
  const fields = (error.errors ?? []).map(({ pointer, message }) => `${pointer}: ${message}`);
  show([error.message, ...fields].join("; "), true);
}

/** Does what may fail: its error becomes a notice. Returns its value, or undefined. */
export async function attempt(act, done) {
  try {
    const value = await act();
    if (done) say(typeof done === "function" ? done(value) : done);
    return value;
  } catch (error) {
    if (!("kind" in error)) throw error;
    complain(error);
    return undefined;
  }
}
