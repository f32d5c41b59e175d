/**
 * Changes of tasks as the feed tells them, put into a page of the list.
 */
import { isFinal } from "../../core/states.js";

/** The parts of the filter that a change does not tell about. */
const UNTOLD = ["tag", "error_type", "created_after", "created_before"];

/** Whether a change is of a task that the filter takes: true, false, or null if it does not say. */
export function takes(filter, change) {
  const reserved = change.task_type.startsWith("raytasks.");
  if (filter.task_type ? filter.task_type !== change.task_type : reserved) return false;
  if (filter.state.length > 0 && !filter.state.includes(change.state)) return false;
  return UNTOLD.some((name) => filter[name]) ? null : true;
}

/** Returns a task after a change. */
function changed(task, change) {
  const { state, attempt, revision, at } = change;
  return {
    ...task, state, attempt, revision,
    started_at: state === "RUNNING" ? at : task.started_at,
    finished_at: isFinal(state) ? at : null,
    progress: state === "RUNNING" && attempt === task.attempt ? task.progress : null,
  };
}

/** Returns what a change alone tells of a task; null for what it does not. */
function told(change) {
  const made = {
    task_id: change.task_id, task_type: change.task_type, created_at: createdAt(change.task_id),
    run_at: null, started_at: null, claimed_at: null, max_attempts: null, tags: [], error: null,
    progress: null, cancel_requested: false,
  };
  return changed(made, change);
}

/** The time in a task's id (UUID version 7), as an RFC 3339 text. */
function createdAt(id) {
  return new Date(parseInt(id.replaceAll("-", "").slice(0, 12), 16)).toISOString();
}

/**
 * Returns the page with the changes: tasks as they are now, and on the `first` page the new ones.
 *
 * `changes` is a Map of the newest change by task id; `size` is how many tasks a page has.
 */
export function withChanges(page, changes, filter, { first, size }) {
  const known = new Set(page.tasks.map(({ task_id: id }) => id));
  const tasks = page.tasks.map((task) => {
    const change = changes.get(task.task_id);
    return change && change.revision > task.revision ? changed(task, change) : task;
  });
  const last = page.tasks.at(-1)?.task_id ?? "";
  const fresh = [...changes.values()].filter((change) => !known.has(change.task_id) &&
    first && takes(filter, change) && (page.tasks.length < size || change.task_id > last));
  if (fresh.length === 0) return { ...page, tasks };
  const all = [...fresh.map(told), ...tasks].sort((a, b) => (a.task_id < b.task_id ? 1 : -1));
  // A new task counts; one that has only come into the filter's states may have been counted.
  const added = fresh.filter(({ revision }) => revision === 0).length;
  return {
    ...page, tasks: all.slice(0, size), total: page.total === null ? null : page.total + added,
  };
}
