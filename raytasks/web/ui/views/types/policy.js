/**
 * How a task type is run: by what, how often, and for how long, in words.
 */
import { html } from "../../lib.js";
import { duration, number } from "../../core/format.js";
import { Fact } from "../../parts/pieces.js";

const KINDS = { function: "function in a shared process", class: "loaded instance", remote: "Ray remote task of its own" };

/** By what a type is run. */
export function kindText({ kind, actors }) {
  if (!actors) return KINDS[kind] ?? kind;
  const [least, most] = actors;
  const count = least === most ? number(most) : `${number(least)} to ${number(most)}`;
  return `${KINDS[kind] ?? kind}, ${count} ${most === 1 ? "actor" : "actors"}`;
}

/** A duration without a last part of zero: "2 min". */
function span(seconds) {
  return duration(seconds).replace(/ 0 (?:s|min|h)$/, "").replace(".0 s", " s");
}

/** How long a time limit is. */
export function limitText(seconds) {
  return seconds === null ? "none" : span(seconds);
}

function Backoff({ retry: { initial_delay_seconds: first, factor, max_delay_seconds: most, jitter } }) {
  return html`${span(first)} at first${factor !== 1 && html`, ${number(factor)} times as long each time, at most ${span(most)}`}${jitter > 0 && html` (± ${number(Math.round(jitter * 100))} %)`}`;
}

function Names({ names }) {
  return names.map((name) => html`<span class="tag">${name}</span>`);
}

/** The policy. */
export function Policy({ type }) {
  const { retry, ray_options: options } = type;
  return html`<section class="panel"><h2>How it is run</h2><dl class="facts">
    <${Fact} name="By">${kindText(type)}</>
    <${Fact} name="Attempts">at most ${number(retry.max_attempts)}</>
    ${retry.max_attempts > 1 && html`<${Fact} name="Pause before the next"><${Backoff} retry=${retry} /></>`}
    <${Fact} name="Time limit of an attempt">${limitText(type.timeout_seconds)}</>
    ${retry.never_retry.length > 0 && html`<${Fact} name="Never retried after"><${Names} names=${retry.never_retry} /></>`}
    ${retry.retry_on && html`<${Fact} name="Retried only after"><${Names} names=${retry.retry_on} /></>`}
    ${Object.keys(options).length > 0 && html`<${Fact} name="Ray options"><code>${JSON.stringify(options)}</code></>`}
  </dl></section>`;
}
