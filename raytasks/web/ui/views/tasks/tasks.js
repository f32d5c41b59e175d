/**
 * The view of all tasks: the filter, the live list, and acts on many of them.
 */
import { html, useEffect, useState } from "../../lib.js";
import { number } from "../../core/format.js";
import { useShortcut } from "../../core/keyboard.js";
import { useOneAtATime } from "../../core/pacing.js";
import { href, place, setQuery } from "../../core/router.js";
import { may } from "../../core/session.js";
import { ACTS } from "../../core/states.js";
import { Empty, Loaded } from "../../parts/conditions.js";
import { ProgressBar, ViewHead } from "../../parts/pieces.js";
import { WaysToSubmit } from "../../parts/ways_to_submit.js";
import { actOnAll, actOnSelected } from "./bulk.js";
import { bulkOf, filterOf, isNarrow } from "./filter.js";
import { FilterBar } from "./filter_bar.js";
import { PAGE, useLiveList } from "./live_list.js";
import { Rows } from "./rows.js";

/** How many tasks the filter matches: exactly where the service counts them. */
function Count({ page, seen }) {
  const shown = seen + page.tasks.length;
  if (page.total !== null) return html`<span class="num">${number(page.total)} ${page.total === 1 ? "task" : "tasks"}</span>`;
  if (shown === 0 && page.next_cursor) return "none found yet";
  return html`<span class="num">${page.next_cursor ? "more than " : ""}${number(shown)} ${shown === 1 ? "task" : "tasks"}</span>`;
}

function BulkButtons({ filter, chosen, onProgress }) {
  const { busy, run } = useOneAtATime();
  const one = (action, title) => {
    const body = chosen.length > 0 ? null : bulkOf(action, filter);
    const act = () => run(() => (chosen.length > 0 ? actOnSelected(action, chosen, onProgress) : actOnAll(body, onProgress)));
    const what = chosen.length > 0 ? `${chosen.length} selected` : "all that match";
    const why = chosen.length === 0 && !body ? `None of these states can be ${ACTS[action].past}` : undefined;
    return html`<button type="button" title=${why} disabled=${chosen.length === 0 && !body} aria-disabled=${busy ? "true" : undefined} onClick=${act}>${title} ${what}…</button>`;
  };
  return html`${one("retry", "Retry")}${one("cancel", "Cancel")}`;
}

/**
 * Returns `{picked, chosen, setPicked}`: a Map of the selected tasks by id, and these tasks as they are
 * shown now. It stands until one ends it, or goes elsewhere: its tasks may leave the page.
 */
function useSelection(tasks, where) {
  const [picked, setPicked] = useState(new Map());
  useEffect(() => setPicked(new Map()), [where]);
  const shown = new Map(tasks.map((task) => [task.task_id, task]));
  const chosen = [...picked].map(([id, task]) => shown.get(id) ?? task);
  return { picked, chosen, setPicked, unseen: chosen.filter(({ task_id: id }) => !shown.has(id)).length };
}

function Selection({ unseen, clear }) {
  return html`${unseen > 0 && html`<span class="muted num">${number(unseen)} of them not on this page</span>`}
    <button type="button" onClick=${clear}>Clear selection</button>`;
}

const HELD = {
  backlog_full: " – waits: the backlog is full", namespace_full: " – waits: the namespace has its max_backlog",
};

function Progress({ progress }) {
  if (!progress) return null;
  const [done, of] = "bulk_id" in progress ? [progress.looked_at, progress.matched] : [progress.done, progress.of];
  const held = HELD[progress.held_by] ?? "";
  return html`<span role="status"><${ProgressBar} fraction=${of ? Math.min(1, done / of) : null} label="Progress of the operation" />
    ${" "}<span class="num">${number(done)}${of ? ` of ${number(of)}` : ""}${held}</span></span>`;
}

function olderThan(page, seen) {
  return href("/tasks", {
    ...Object.fromEntries(keptQuery()), cursor: page.next_cursor, seen: String(seen + page.tasks.length),
  });
}

/** There is no task: to the end, or among those that were looked at so far. */
function None({ page, cursor, seen }) {
  if (page.next_cursor) {
    return html`<${Empty} title="None found yet"><p>None of the ${cursor ? "next" : "newest"} ${number(page.looked)} tasks matches. There are older ones.</p>
      <p><a class="button primary" href=${olderThan(page, seen)}>Look further</a></p></>`;
  }
  if (cursor) return html`<${Empty} title="No older task matches"><p>The newer ones are on the pages before.</p></>`;
  return html`<${Empty} title="No task matches"><p>Change the filter, or clear it. New tasks that match appear here by themselves.</p></>`;
}

function Foot({ page, cursor, seen }) {
  return html`<div class="list-foot">
    ${cursor && html`<a href=${href("/tasks", { ...Object.fromEntries(keptQuery()), cursor: null, seen: null })}>← Newest</a>`}
    ${page.next_cursor && html`<a href=${olderThan(page, seen)}>Older →</a>`}</div>`;
}

function keptQuery() {
  const { query } = place.value;
  return [...new Set(query.keys())].map((name) => [name, query.getAll(name)]);
}

function TasksView() {
  const filter = filterOf();
  const { query } = place.value;
  const cursor = query.get("cursor") ?? "";
  const seen = cursor ? Number(query.get("seen")) || 0 : 0;
  const [paused, setPaused] = useState(false);
  const [progress, setProgress] = useState(null);
  const { page, stats } = useLiveList(filter, cursor, paused);
  const { picked, chosen, setPicked, unseen } = useSelection(page.data?.tasks ?? [], JSON.stringify([filter, cursor]));
  useShortcut("p", paused ? "Let the list move again" : "Hold the list still", () => setPaused(!paused));
  useShortcut("/", "Filter by tag", () => document.querySelector(".filter input[name=tag]")?.focus());
  const operates = may("operate");
  const none = page.data?.tasks.length === 0 && page.data.next_cursor === null && !isNarrow(filter) && !cursor;
  const actions = html`<${Progress} progress=${progress} />
    ${operates && !none && html`<${BulkButtons} filter=${filter} chosen=${chosen} onProgress=${setProgress} />`}
    ${chosen.length > 0 && html`<${Selection} unseen=${unseen} clear=${() => setPicked(new Map())} />`}
    <button type="button" aria-pressed=${paused ? "true" : "false"} onClick=${() => setPaused(!paused)}>${paused ? "Go on" : "Hold still"}</button>`;
  return html`<${ViewHead} title="Tasks" actions=${actions}>
      ${page.data && !none && html`<span class="muted"><${Count} page=${page.data} seen=${seen} /></span>`}</>
    ${none ? html`<${WaysToSubmit} />` : html`<${FilterBar} filter=${filter} stats=${stats.data} />
    <${Loaded} of=${page} what="tasks">${(data) => (data.tasks.length === 0
      ? html`<${None} page=${data} cursor=${cursor} seen=${seen} />`
      : html`<${Rows} tasks=${data.tasks} picked=${picked} setPicked=${setPicked} pickable=${operates} />`)}</>`}
    ${page.data && html`<${Foot} page=${page.data} cursor=${cursor} seen=${seen} />`}`;
}

/** The view. */
export const tasks = { path: "/tasks", title: "Tasks", key: "t", allowed: () => may("read"), View: TasksView };
