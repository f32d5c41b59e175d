/**
 * Copying: also on a page without TLS, where browsers have no `navigator.clipboard`.
 */
import { complain, say } from "./notices.js";

function byCommand(text) {
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "off-screen";
  area.setAttribute("aria-hidden", "true");
  const before = document.activeElement;
  (document.querySelector("dialog[open]") ?? document.body).append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  before?.focus();
  return done;
}

/** Copies a text, and says so: `what` is its name. */
export async function copy(text, what) {
  let done = false;
  if (navigator.clipboard && isSecureContext) {
    done = await navigator.clipboard.writeText(text).then(() => true, () => false);
  }
  done ||= byCommand(text);
  if (done) say(`${what} copied`);
  else complain(new Error(`${what} could not be copied; select it, and copy it by hand`));
}
