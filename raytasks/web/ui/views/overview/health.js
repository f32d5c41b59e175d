/**
 * What is wrong now: the reasons of `GET /health`, each with its fix.
 */
import { html } from "../../lib.js";
import { ask } from "../../core/api.js";
import { number } from "../../core/format.js";
import { useEvery, useLoad } from "../../core/loading.js";
import { Ago, Badge } from "../../parts/pieces.js";

const LOOK_SECONDS = 5;

/** Loads the health. It is told with the status 503, too, while no submission is accepted. */
function load(abort) {
  return ask("GET", "/health", { abort, accepts: [503] });
}

function Reason({ reason: { code, message, fix, since, count, log } }) {
  return html`<li><p><strong>${message}</strong></p>
    <p>${fix}</p>
    <p class="muted"><span class="mono">${code}</span>${since !== null && html`, since <${Ago} time=${since * 1000} />`}${count > 1 && html`, concerns <span class="num">${number(count)}</span>`}</p>
    ${log?.length > 0 && html`<details><summary>The end of its log</summary>
      <pre tabindex="0" role="region" aria-label="The end of its log">${log.join("\n")}</pre></details>`}</li>`;
}

function Unknown({ error, last }) {
  return html`<section class="panel health" data-tone="bad" aria-label="Health">
    <h2><${Badge} tone="bad">no answer</>The health is not known</h2>
    <p>${error.message}. The last answer was: ${last}. The page asks again by itself.</p></section>`;
}

/** The panel. It stays away while no health was told: the figures then say why. */
export function Health() {
  const { data, error, reload } = useLoad(load);
  useEvery(LOOK_SECONDS, reload);
  if (!data) return null;
  if (error) return html`<${Unknown} error=${error} last=${data.status} />`;
  const reasons = data.reasons ?? [];
  const refuses = [data.database, data.tracker].some((part) => part && !part.ok);
  const tone = refuses ? "bad" : reasons.length > 0 ? "warn" : "good";
  return html`<section class="panel health" data-tone=${tone} aria-label="Health">
    <h2><${Badge} tone=${tone}>${refuses ? "refuses tasks" : data.status}</>${reasons.length > 0
      ? "What is wrong now" : "Nothing is wrong"}</h2>
    ${reasons.length > 0 && html`<ul class="waiting">${reasons.map((reason, index) => html`<${Reason} key=${`${reason.code} ${index}`} reason=${reason} />`)}</ul>`}</section>`;
}
