/**
 * The view of failures: the tasks that are FAILED now, in groups by type and class of error.
 */
import { html, useEffect } from "../../lib.js";
import { get } from "../../core/api.js";
import { listen } from "../../core/feed.js";
import { number } from "../../core/format.js";
import { useLoad, useRefresh } from "../../core/loading.js";
import { useSoon } from "../../core/pacing.js";
import { href, place } from "../../core/router.js";
import { inNamespace, may } from "../../core/session.js";
import { useTaskTypes } from "../../core/types.js";
import { Empty, Loaded } from "../../parts/conditions.js";
import { ViewHead } from "../../parts/pieces.js";
import { ChoiceField } from "../../parts/url_fields.js";
import { Groups } from "./groups.js";

const LOOK_SECONDS = 10;
const SOON_MS = 500;
const REST_MS = 1000;
const REST = 20; // times as long as loading took

/** Loads the groups again soon after a task has failed, or one that had failed has changed. */
function useGroups(taskType) {
  const found = useLoad(
    (abort) => get("/errors", { ...inNamespace(), task_type: taskType }, abort), [taskType], { keep: true },
  );
  const soon = useSoon(async () => {
    const began = performance.now();
    await found.reload();
    return Math.max(REST_MS, (performance.now() - began) * REST);
  });
  useEffect(() => listen(({ state, revision }) => {
    const isRetried = state === "PENDING" && revision > 0;
    if (state === "FAILED" || isRetried) soon(SOON_MS);
  }, () => soon(0)), []);
  useRefresh(LOOK_SECONDS, { ...found, reload: () => soon(0) });
  return found;
}

function TypeField({ value, groups }) {
  const known = useTaskTypes().map(({ task_type: name }) => name);
  const names = [...new Set([...known, ...groups.map((group) => group.task_type)])].sort();
  return html`<${ChoiceField} name="task_type" label="Task type" value=${value} all="All types" choices=${names.map((name) => [name, name])} />`;
}

function Summary({ found: { groups, omitted } }) {
  const tasks = groups.reduce((sum, { count }) => sum + count, 0);
  return html`<span class="muted num">${number(tasks)} FAILED ${tasks === 1 ? "task" : "tasks"} in ${number(groups.length)} ${groups.length === 1 ? "group" : "groups"}${omitted > 0 && `, and ${number(omitted)} smaller groups`}</span>`;
}

function None({ taskType }) {
  if (taskType) return html`<${Empty} title="None of this type is FAILED"><p><a href=${href("/errors")}>Failures of all types</a></p></>`;
  return html`<${Empty} title="No task is FAILED"><p>A task that fails for the last time appears here by itself, with others of its type and error.</p></>`;
}

function ErrorsView() {
  const taskType = place.value.query.get("task_type") ?? "";
  const found = useGroups(taskType);
  const actions = html`<${TypeField} value=${taskType} groups=${found.data?.groups ?? []} />`;
  return html`<${ViewHead} title="Errors" actions=${actions}>${found.data?.groups.length > 0 && html`<${Summary} found=${found.data} />`}</>
    <${Loaded} of=${found} what="errors">${({ groups, since }) => (groups.length === 0
      ? html`<${None} taskType=${taskType} />`
      : html`<${Groups} groups=${groups} since=${since} />`)}</>`;
}

/** The view. */
export const errors = {
  path: "/errors", title: "Errors", key: "e", allowed: () => may("read"), View: ErrorsView,
};
