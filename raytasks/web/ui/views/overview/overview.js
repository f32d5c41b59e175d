/**
 * The view of the whole: what is wrong, how many tasks there are, how it went, what does the work.
 */
import { html, useEffect } from "../../lib.js";
import { get } from "../../core/api.js";
import { listen } from "../../core/feed.js";
import { useLoad, useRefresh } from "../../core/loading.js";
import { useSoon } from "../../core/pacing.js";
import { place, setQuery } from "../../core/router.js";
import { inNamespace, may, mayOperateAll } from "../../core/session.js";
import { useTaskTypes } from "../../core/types.js";
import { Loaded } from "../../parts/conditions.js";
import { ViewHead } from "../../parts/pieces.js";
import { ChoiceField } from "../../parts/url_fields.js";
import { WaysToSubmit } from "../../parts/ways_to_submit.js";
import { Pools } from "../runners/pools.js";
import { Charts } from "./charts.js";
import { ByType, Counts, Went } from "./figures.js";
import { Health } from "./health.js";

const LOOK_SECONDS = 10;
const SOON_MS = 1000;
const REST_MS = 2000;
const REST = 20; // times as long as loading took

const SECONDS = { hour: 3600, day: 86_400 };

/** Loads the figures, how they were, and the pools if they may be seen. */
async function load(taskType, over, abort) {
  const query = inNamespace();
  const asked = [
    get("/stats", query, abort),
    get("/stats/series", { ...query, task_type: taskType, seconds: SECONDS[over] }, abort),
    mayOperateAll() ? get("/pools", {}, abort) : { pools: null },
  ];
  const [stats, series, { pools }] = await Promise.all(asked);
  return { stats, series, pools };
}

/** Loads again soon after something has changed, but seldom enough to cost little. */
function useFigures(taskType, over) {
  const found = useLoad((abort) => load(taskType, over, abort), [taskType, over], { keep: true });
  const soon = useSoon(async () => {
    const began = performance.now();
    await found.reload();
    return Math.max(REST_MS, (performance.now() - began) * REST);
  });
  useEffect(() => listen(() => soon(SOON_MS), () => soon(0)), []);
  useRefresh(LOOK_SECONDS, { ...found, reload: () => soon(0) });
  return found;
}

function Span({ over }) {
  return html`<span class="choice" role="group" aria-label="How far back">${Object.keys(SECONDS).map((name) => html`<button type="button"
    aria-pressed=${name === over ? "true" : "false"} onClick=${() => setQuery({ over: name === "hour" ? null : name })}>Last ${name}</button>`)}</span>`;
}

function TypeField({ stats, value }) {
  const known = useTaskTypes().map(({ task_type: name }) => name);
  const names = [...new Set([...known, ...Object.keys(stats?.counts.by_type ?? {})])].sort();
  return html`<${ChoiceField} name="task_type" label="Task type" value=${value} all="All types" choices=${names.map((name) => [name, name])} />`;
}

function OverviewView() {
  const { query } = place.value;
  const over = query.get("over") === "day" ? "day" : "hour";
  const taskType = query.get("task_type") ?? "";
  const found = useFigures(taskType, over);
  const { stats } = found.data ?? {};
  const none = stats && Object.values(stats.counts.by_state).every((count) => count === 0);
  const actions = html`<${TypeField} stats=${stats} value=${taskType} /><${Span} over=${over} />`;
  return html`<${ViewHead} title="Overview" actions=${!none && actions} />
    <${Health} />
    <${Loaded} of=${found} what="figures">${({ series, pools }) => (none ? html`<${WaysToSubmit} />` : html`
      <${Counts} stats=${stats} taskType=${taskType} />
      <${Went} window=${taskType ? stats.by_type[taskType]?.[over] : stats.windows[over]} over=${over} />
      <${Charts} series=${series} />
      ${!taskType && html`<${ByType} stats=${stats} over=${over} />`}
      ${pools && html`<${Pools} pools=${taskType ? pools.filter(({ task_types: types }) => types.includes(taskType)) : pools} />`}`)}</>`;
}

/** The view. */
export const overview = {
  path: "/overview", title: "Overview", key: "o", allowed: () => may("read"), View: OverviewView,
};
