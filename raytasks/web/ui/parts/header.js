/**
 * The header: the views, the namespace, whether the page is live, the theme, the help, the key.
 */
import { html, useId } from "../lib.js";
import { get } from "../core/api.js";
import { connection } from "../core/feed.js";
import { useLoad } from "../core/loading.js";
import { href, place } from "../core/router.js";
import { choose, forget, may, me, namespace, needsKey } from "../core/session.js";
import { nextTheme, theme } from "../core/theme.js";
import { shownViews, viewOf } from "../views/registry.js";
import { DraftInput } from "./draft_input.js";
import { helpOpen } from "./help.js";

const CONNECTIONS = {
  live: "Live", connecting: "Connecting…", away: "Disconnected", paused: "Paused", off: "Not live",
};

function Navigation() {
  return html`<nav aria-label="Views"><ul>${shownViews().map(({ path, title }) => {
    const here = viewOf(place.value.path)?.view.path ?? "";
    const current = here === path || here.startsWith(`${path}/`);
    return html`<li><a href=${href(path)} aria-current=${current ? "page" : undefined}>${title}</a></li>`;
  })}</ul></nav>`;
}

function NamespaceChooser() {
  const list = useId();
  if (me.value.namespace !== null) {
    return html`<span class="namespace" title="This key is bound to this namespace">${me.value.namespace}</span>`;
  }
  return html`<label class="namespace"><span>Namespace</span>
    <${NamespaceField} list=${list} /></label>`;
}

function NamespaceField({ list }) {
  const known = useLoad(
    async (abort) => (may("read") ? get("/namespaces", {}, abort) : { namespaces: [] }), [me.value],
  );
  const names = (known.data?.namespaces ?? []).map(({ name }) => name);
  const change = (event) => choose(event.target.value.trim());
  return html`<${DraftInput} list=${list} value=${namespace.value} pattern="[a-z0-9][a-z0-9\\-]{0,62}"
      size="10" title="The namespace that is shown" spellcheck=${false} autocomplete="off" onChange=${change} />
    <datalist id=${list}>${names.map((name) => html`<option value=${name} />`)}</datalist>`;
}

/** The header of the page. Without a key there is only its name. */
export function Header() {
  return html`<header class="top">
    <a class="brand" href=${href("/")}>raytasks</a>
    ${me.value && html`<${Navigation} />`}
    <span class="space"></span>
    ${me.value && html`<${NamespaceChooser} />
      <span class="connection" data-state=${connection.value} role="status">${CONNECTIONS[connection.value]}</span>`}
    <button type="button" class="quiet theme" onClick=${nextTheme}
      title="Light, dark, or as the system prefers">Theme: ${theme.value}</button>
    ${me.value && html`<button type="button" class="quiet" aria-label="Keyboard help"
      onClick=${() => { helpOpen.value = true; }}>?</button>`}
    ${me.value && needsKey.value && html`<button type="button" class="quiet"
      title=${`Key ${me.value.name}: ${me.value.scopes.join(", ")}`} onClick=${() => forget()}>Sign out (${me.value.name})</button>`}
  </header>`;
}
