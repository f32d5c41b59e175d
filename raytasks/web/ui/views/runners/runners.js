/**
 * The view of what does the work: pools, runners with their attempts, nodes, and versions.
 */
import { html } from "../../lib.js";
import { get } from "../../core/api.js";
import { number } from "../../core/format.js";
import { useLoad, useRefresh } from "../../core/loading.js";
import { mayOperateAll } from "../../core/session.js";
import { clockNow } from "../../core/visible.js";
import { Loaded } from "../../parts/conditions.js";
import { ViewHead } from "../../parts/pieces.js";
import { Nodes } from "./nodes.js";
import { Pools } from "./pools.js";
import { Runners } from "./runner_rows.js";
import { Versions } from "./versions.js";

const LOOK_SECONDS = 3;
const NAMES = ["pools", "runners", "nodes", "versions"];

/** Loads all four lists, with the time at which they were so, in milliseconds. */
async function load(abort) {
  const answers = await Promise.all(NAMES.map((name) => get(`/${name}`, {}, abort)));
  return Object.assign({ at: clockNow() }, ...answers);
}

function Summary({ runners }) {
  const busy = runners.filter(({ state }) => state === "busy").length;
  return html`<span class="muted num">${number(runners.length)} ${runners.length === 1 ? "runner" : "runners"}, ${number(busy)} busy</span>`;
}

function RunnersView() {
  const found = useLoad(load);
  useRefresh(LOOK_SECONDS, found);
  return html`<${ViewHead} title="Runners">${found.data && html`<${Summary} runners=${found.data.runners} />`}</>
    <${Loaded} of=${found} what="runners">${({ at, pools, runners, nodes, nodes_coming: coming, versions }) => html`
      <${Pools} pools=${pools} reload=${found.reload} />
      <${Runners} runners=${runners} pools=${pools} nodes=${nodes} at=${at} />
      <${Nodes} nodes=${nodes} coming=${coming} />
      <${Versions} versions=${versions} />`}</>`;
}

/** The view. */
export const runners = {
  path: "/runners", title: "Runners", key: "r", allowed: mayOperateAll, View: RunnersView,
};
