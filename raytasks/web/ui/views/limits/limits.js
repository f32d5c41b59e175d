/**
 * The view of what steers the flow: pauses, limits, and the shares of namespaces.
 */
import { html } from "../../lib.js";
import { get } from "../../core/api.js";
import { useEvery, useLoad } from "../../core/loading.js";
import { mayOperateAll } from "../../core/session.js";
import { Loaded } from "../../parts/conditions.js";
import { ViewHead } from "../../parts/pieces.js";
import { Limits } from "./limit_rows.js";
import { Pauses } from "./pause_rows.js";
import { Shares } from "./share_rows.js";

const LOOK_SECONDS = 3;
const NAMES = ["limits", "namespaces", "pauses"];

/** Loads all three lists. */
async function load(abort) {
  return Object.assign({}, ...(await Promise.all(NAMES.map((name) => get(`/${name}`, {}, abort)))));
}

function LimitsView() {
  const found = useLoad(load);
  useEvery(LOOK_SECONDS, found.reload);
  return html`<${ViewHead} title="Limits"><span class="muted">What is set here survives restarts and deployments</span></>
    <${Loaded} of=${found} what="the limits">${({ limits, namespaces, pauses }) => html`
      <${Pauses} pauses=${pauses} reload=${found.reload} />
      <${Limits} limits=${limits} reload=${found.reload} />
      <${Shares} namespaces=${namespaces} reload=${found.reload} />`}</>`;
}

/** The view. */
export const limits = { path: "/limits", title: "Limits", key: "i", allowed: mayOperateAll, View: LimitsView };
