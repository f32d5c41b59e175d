/**
 * Small pieces of all views: a state's badge, a time, a task's link, a button that copies, a key.
 */
import { html } from "../lib.js";
import { copy } from "../core/copying.js";
import { ago, localTime } from "../core/format.js";
import { href } from "../core/router.js";
import { namespaceInUrl } from "../core/session.js";
import { now } from "../core/visible.js";

/** A task's state: its colour, and always its name. */
export function StateBadge({ state }) {
  return html`<span class="state" data-state=${state}>${state}</span>`;
}

/** A word with the colour of a tone (`good`, `bad`, `warn`, `busy`, `calm`), such as a runner's state. */
export function Badge({ tone, children }) {
  return html`<span class="state" data-tone=${tone}>${children}</span>`;
}

/** A time as "12 s ago", with the exact one as its title. */
export function Ago({ time }) {
  if (!time) return html`<span class="muted">–</span>`;
  return html`<time datetime=${time} title=${localTime(time, { millis: true })}>${ago(time, now.value)}</time>`;
}

/** A local time in full. */
export function Moment({ time, millis = false }) {
  if (!time) return html`<span class="muted">–</span>`;
  return html`<time datetime=${time} title=${time}>${localTime(time, { millis })}</time>`;
}

/**
 * A link to a task. Its id is cut to the end, which differs; the title has all of it. Without
 * `namespace` the task is in the one that is shown.
 */
export function TaskLink({ id, whole = false, namespace }) {
  const place = href(`/tasks/${id}`, namespace ? { namespace: namespaceInUrl(namespace) } : {});
  return html`<a class="mono" href=${place} title=${id}>${whole ? id : `…${id.slice(-12)}`}</a>`;
}

/** A button that copies a text; `what` is its name. */
export function CopyButton({ text, what, label = "Copy" }) {
  return html`<button type="button" class="small" aria-label=${`${label} ${what}`}
    onClick=${() => copy(typeof text === "function" ? text() : text, what)}>${label}</button>`;
}

/** Keys of the keyboard. */
export function Keys({ keys }) {
  return html`<span class="keys">${keys.split(" ").map((key) => html`<kbd>${key}</kbd>`)}</span>`;
}

/** A value with its name, for a list of facts (`dl.facts`). */
export function Fact({ name, children }) {
  return html`<div><dt>${name}</dt><dd>${children}</dd></div>`;
}

/** A bar for a share from 0 to 1, with a text. */
export function ProgressBar({ fraction, label }) {
  const percent = Math.round((fraction ?? 0) * 100);
  return html`<span class="progress">
    <progress max="100" value=${fraction === null ? undefined : percent} aria-label=${label}></progress>
    <span class="num">${fraction === null ? "" : `${percent} %`}</span>
  </span>`;
}

/** The head of a view: its title, what stands beside it, and its actions. */
export function ViewHead({ title, children, actions }) {
  return html`<div class="view-head"><h1 tabindex="-1">${title}</h1>${children}
    <span class="space"></span>${actions}</div>`;
}
