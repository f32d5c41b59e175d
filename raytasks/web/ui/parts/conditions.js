/**
 * The conditions of a view that has nothing to show: empty, loading, refused, not found, away, failed.
 */
import { html } from "../lib.js";
import { useEvery } from "../core/loading.js";
import { me } from "../core/session.js";

/** A frame with a title and what to do now. */
export function Condition({ kind, title, children }) {
  return html`<section class="condition" data-kind=${kind} role=${kind === "empty" ? undefined : "status"}>
    <h2>${title}</h2>${children}</section>`;
}

/** Nothing to show, and why. */
export function Empty({ title, children }) {
  return html`<${Condition} kind="empty" title=${title}>${children}</>`;
}

/** It is being loaded. The frame shows after a moment, so that fast answers do not flicker. */
export function Loading({ what = "" }) {
  return html`<p class="loading" role="status">Loading ${what}…</p>`;
}

/** What went wrong, with the fix that the API names; and a new try, which comes by itself. */
export function Failure({ error, retry }) {
  if (error.kind === "away") return html`<${Away} error=${error} retry=${retry} />`;
  const titles = {
    refused: "Not allowed", missing: "Not found", invalid: "This cannot be answered",
    failed: "The service failed", broken: "The page failed",
  };
  return html`<${Condition} kind=${error.kind} title=${titles[error.kind]}>
    <p>${error.message}</p>
    ${error.errors?.length > 0 && html`<ul>${error.errors.map(
      ({ pointer, message }) => html`<li><code>${pointer}</code> ${message}</li>`)}</ul>`}
    ${error.kind === "refused" && me.value &&
      html`<p class="muted">The key is ${me.value.name}; its scopes: ${me.value.scopes.join(", ")}.</p>`}
    ${retry && ["failed", "broken"].includes(error.kind) && html`<button type="button" onClick=${retry}>Try again</button>`}
  </>`;
}

function Away({ error, retry }) {
  useEvery(3, retry ?? (() => {}));
  return html`<${Condition} kind="away" title="Disconnected">
    <p>${error.message}. ${retry && "The page tries again every 3 seconds."}</p>
    ${retry && html`<button type="button" onClick=${retry}>Try now</button>`}
  </>`;
}

/**
 * Shows what `useLoad` has loaded: `children(data)`, or the condition instead.
 *
 * With data from before, an error stands above them.
 */
export function Loaded({ of, what, children }) {
  const { data, error, loading, reload } = of;
  if (data === undefined) {
    if (error) return html`<${Failure} error=${error} retry=${reload} />`;
    return loading && html`<${Loading} what=${what} />`;
  }
  return html`${error && html`<${Stale} error=${error} retry=${reload} />`}${children(data)}`;
}

function Stale({ error, retry }) {
  useEvery(3, error.kind === "away" ? retry : () => {});
  return html`<p class="stale" role="status">What you see may be old: ${error.message}.
    <button type="button" class="small" onClick=${retry}>Try again</button></p>`;
}
