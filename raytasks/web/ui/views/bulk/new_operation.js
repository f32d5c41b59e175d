/**
 * The view that begins a bulk operation: its action and filter, counted before anything is done.
 */
import { html } from "../../lib.js";
import { ask, get } from "../../core/api.js";
import { number } from "../../core/format.js";
import { useLoad } from "../../core/loading.js";
import { useOneAtATime } from "../../core/pacing.js";
import { go, href, place } from "../../core/router.js";
import { inNamespace, inUrl, may } from "../../core/session.js";
import { ACTS } from "../../core/states.js";
import { Loaded } from "../../parts/conditions.js";
import { ViewHead } from "../../parts/pieces.js";
import { narrow } from "../../parts/url_fields.js";
import { beginOnAll } from "../tasks/bulk.js";
import { bulkOf, filterOf } from "../tasks/filter.js";
import { NarrowFields, StateChips } from "../tasks/filter_bar.js";

function Actions({ action }) {
  return html`<fieldset class="states"><legend class="off-screen">Action</legend>
    ${Object.entries(ACTS).map(([name, { title }]) => html`<button type="button" class="chip" aria-pressed=${name === action ? "true" : "false"}
      onClick=${() => narrow({ action: name, state: null })}>${title}</button>`)}</fieldset>`;
}

/** How many tasks would be changed, and the button that does it after a question. */
function Begin({ body, matched }) {
  const { title, past } = ACTS[body.action];
  const { busy, run } = useOneAtATime();
  const begin = () => run(async () => {
    const query = inNamespace();
    const begun = await beginOnAll(body, query);
    if (begun) go(`/bulk/${begun.bulk_id}`, inUrl(query));
  });
  const what = matched === null ? "Very many tasks match" : matched === 1 ? "1 task matches" : `${number(matched)} tasks match`;
  return html`<p><strong class="num">${what}.</strong> ${matched === 0
      ? `There is nothing to be ${past}.` : "Nothing is changed before you have agreed to it."}</p>
    <p class="buttons"><button type="button" class=${body.action !== "retry" ? "danger" : "primary"} disabled=${matched === 0}
      aria-disabled=${busy ? "true" : undefined} onClick=${begin}>${title}${matched === 0 ? "" : matched === null ? " them" : ` ${number(matched)}`}…</button></p>`;
}

function NewView() {
  const asked = place.value.query.get("action");
  const action = asked in ACTS ? asked : "retry";
  const filter = filterOf();
  const { sources } = ACTS[action];
  const body = bulkOf(action, { ...filter, state: filter.state.filter((state) => sources.includes(state)) });
  const stats = useLoad((abort) => get("/stats", inNamespace(), abort));
  const counted = useLoad(
    (abort) => ask("POST", "/bulk", { query: inNamespace(), body: { ...body, dry_run: true }, abort }),
    [JSON.stringify(body)],
  );
  const toggle = (state) => {
    const on = body.state.includes(state);
    narrow({ action, state: on ? body.state.filter((other) => other !== state) : [...body.state, state] });
  };
  return html`<${ViewHead} title="New bulk operation" actions=${html`<a href=${href("/bulk")}>All bulk operations</a>`} />
    <section class="panel"><h2>What to do</h2><${Actions} action=${action} /></section>
    <section class="panel filter" aria-label="Filter"><h2>With which tasks</h2>
      <${StateChips} states=${sources} pressed=${body.state} toggle=${toggle} taskType=${filter.task_type} stats=${stats.data} />
      <div class="fields"><${NarrowFields} filter=${filter} stats=${stats.data} /></div></section>
    <section class="panel"><h2>How many</h2>
      <${Loaded} of=${counted} what="the count">${({ matched }) => html`<${Begin} body=${body} matched=${matched} />`}</></section>`;
}

/** The view. */
export const newOperation = { path: "/bulk/new", allowed: () => may("operate"), View: NewView };
