/**
 * The notices, in a corner. The two regions are always there, so that screen readers follow them.
 */
import { html } from "../lib.js";
import { dismiss, notices } from "../core/notices.js";

function Notice({ id, text, bad }) {
  return html`<div class="notice" data-bad=${bad}><span>${text}</span>
    <button type="button" class="small" aria-label="Dismiss" onClick=${() => dismiss(id)}>×</button></div>`;
}

/** Where notices appear; once in the page. */
export function NoticeList() {
  const [good, bad] = [false, true].map((kind) => notices.value.filter((notice) => notice.bad === kind));
  return html`<div class="notices">
    <div role="alert">${bad.map((notice) => html`<${Notice} key=${notice.id} ...${notice} />`)}</div>
    <div role="status" aria-live="polite">${good.map((notice) => html`<${Notice} key=${notice.id} ...${notice} />`)}</div>
  </div>`;
}
