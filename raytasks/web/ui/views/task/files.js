/**
 * The files that a task has made, with links that need no key.
 */
import { html } from "../../lib.js";
import { get, urlOf } from "../../core/api.js";
import { size } from "../../core/format.js";
import { useLoad } from "../../core/loading.js";
import { inNamespace } from "../../core/session.js";
import { Loaded } from "../../parts/conditions.js";

/** The list of files. It is loaded again when the task has changed. */
export function Files({ id, revision }) {
  const files = useLoad((abort) => get(`/tasks/${id}/artifacts`, inNamespace(), abort), [id, revision]);
  return html`<${Loaded} of=${files} what="files">${({ artifacts }) => (artifacts.length === 0
    ? html`<p class="muted">The task has made none.</p>`
    : html`<table class="plain"><tbody>${artifacts.map(({ name, bytes, url }) => html`<tr>
        <td><a href=${urlOf(url)} target="_blank" rel="noreferrer">${name}</a></td><td class="num">${size(bytes)}</td></tr>`)}</tbody></table>`)}</>`;
}
