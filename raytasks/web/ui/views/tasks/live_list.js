/**
 * A page of the list of tasks that stays as the tasks are now.
 *
 * A change of a task that is shown is seen at once. What a change does not tell is loaded soon after:
 * seldom enough that many open pages cost the service little.
 */
import { useCallback, useEffect, useRef, useState } from "../../lib.js";
import { get } from "../../core/api.js";
import { listen } from "../../core/feed.js";
import { useLoad } from "../../core/loading.js";
import { inNamespace } from "../../core/session.js";
import { isFinal } from "../../core/states.js";
import { visible } from "../../core/visible.js";

/** How many tasks a page has. */
export const PAGE = 50;

const MAX_REQUESTS = 10; // for one page: the service looks at 2,000 tasks with each
const NEW_MS = 150;
const CHANGED_MS = 1500;
const REST = 20; // rests for so many times as long as loading took

/** Loads a page of tasks; goes on where the service gave a part of one. */
async function loadPage(filter, cursor, abort) {
  const page = { tasks: [], total: null, next_cursor: cursor || null };
  for (let request = 0; request < MAX_REQUESTS; request += 1) {
    const query = { ...inNamespace(), ...filter, cursor: page.next_cursor, limit: PAGE - page.tasks.length };
    const part = await get("/tasks/", query, abort);
    page.tasks.push(...part.tasks);
    page.total = part.total;
    page.next_cursor = part.next_cursor;
    if (page.tasks.length >= PAGE || page.next_cursor === null) break;
  }
  return page;
}

function changed(task, change) {
  const { state, attempt, revision, at } = change;
  return {
    ...task, state, attempt, revision,
    started_at: state === "RUNNING" ? at : task.started_at,
    finished_at: isFinal(state) ? at : null,
    progress: state === "RUNNING" && attempt === task.attempt ? task.progress : null,
  };
}

function mayMatch(filter, change) {
  if (filter.task_type ? filter.task_type !== change.task_type : change.task_type.startsWith("raytasks.")) {
    return false;
  }
  return filter.state.length === 0 || filter.state.includes(change.state);
}

/** Returns `{page, stats}`, both as of `useLoad`. With `paused` the list stays as it is. */
export function useLiveList(filter, cursor, paused) {
  const key = JSON.stringify([filter, cursor]);
  const took = useRef(0);
  const load = useLoad(async (abort) => {
    const began = performance.now();
    const page = await loadPage(filter, cursor, abort);
    took.current = performance.now() - began;
    return page;
  }, [key]);
  const stats = useLoad((abort) => get("/stats", inNamespace(), abort), []);
  const [changes, setChanges] = useState(new Map());

  const soon = useSoon(async () => {
    await Promise.all([load.reload(), stats.reload()]);
    setChanges(new Map());
    return took.current * REST;
  });
  const shown = useRef(new Set());
  shown.current = new Set(load.data?.tasks.map(({ task_id: id }) => id));

  useEffect(() => {
    if (paused) return undefined;
    soon(0);
    return listen((change) => {
      if (shown.current.has(change.task_id)) {
        setChanges((known) => new Map(known).set(change.task_id, change));
        soon(CHANGED_MS);
      } else if (change.revision === 0 || mayMatch(filter, change)) soon(NEW_MS);
      else soon(CHANGED_MS);
    }, () => soon(0));
  }, [key, paused]);

  const data = load.data && { ...load.data, tasks: load.data.tasks.map((task) => {
    const change = changes.get(task.task_id);
    return change && change.revision > task.revision ? changed(task, change) : task;
  }) };
  return { page: { ...load, data }, stats };
}

/** Returns `soon(ms)`: it does the act then, never two at once, and after a rest of its own. */
function useSoon(act) {
  const latest = useRef(act);
  latest.current = act;
  const plan = useRef({ timer: 0, due: Infinity, busy: false, restUntil: 0 });
  useEffect(() => () => { clearTimeout(plan.current.timer); plan.current.busy = true; }, []);
  return useCallback((ms) => {
    const it = plan.current;
    const due = Math.max(performance.now() + ms, it.restUntil);
    if (due >= it.due) return;
    it.due = due;
    if (!it.busy) arm(it, latest);
  }, []);
}

function arm(it, latest) {
  clearTimeout(it.timer);
  it.timer = setTimeout(async () => {
    it.due = Infinity;
    if (!visible.peek()) return; // the feed rests as well; it tells what was missed
    it.busy = true;
    const rest = await latest.current();
    it.busy = false;
    it.restUntil = performance.now() + Math.max(500, rest);
    if (it.due < Infinity) {
      it.due = Math.max(it.due, it.restUntil);
      arm(it, latest);
    }
  }, Math.max(0, it.due - performance.now()));
}
