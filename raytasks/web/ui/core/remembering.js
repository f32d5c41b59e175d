/**
 * Choices that are kept for this browser, where it allows that.
 */

/** Returns what was kept under a name, or null. */
export function recall(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null; // storage may be forbidden
  }
}

/** Keeps a text under a name, if that is possible. */
export function remember(name, text) {
  try {
    localStorage.setItem(name, text);
  } catch { /* it then holds for this page alone */ }
}
