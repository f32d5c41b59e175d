/**
 * A page of the list of tasks that stays as the tasks are now.
 *
 * What a change tells is seen at once. The rest is loaded soon after, so seldom that many open pages
 * cost the service little.
 */
import { useEffect, useRef, useState } from "../../lib.js";
import { get } from "../../core/api.js";
import { listen } from "../../core/feed.js";
import { useLoad } from "../../core/loading.js";
import { useSoon } from "../../core/pacing.js";
import { inNamespace } from "../../core/session.js";
import { takes, withChanges } from "./changes.js";

/** How many tasks a page has. */
export const PAGE = 50;

const LOOKED_AT = 2000; // by the service with each request
const MAX_REQUESTS = 10; // for the first page
const MAX_REQUESTS_OLDER = 100; // for a page that one has asked for
const UNTOLD_MS = 150; // for changes that do not say whether they belong here
const TOLD_MS = 1500;
const TOGETHER_MS = 100; // changes are shown together
const REST = 20; // times as long as loading took

/** Loads a page of tasks; goes on where the service gave a part of one. `looked` is at how many. */
async function loadPage(filter, cursor, abort) {
  const page = { tasks: [], total: null, next_cursor: cursor || null, looked: 0 };
  const most = cursor ? MAX_REQUESTS_OLDER : MAX_REQUESTS;
  for (let request = 0; request < most; request += 1) {
    const query = { ...inNamespace(), ...filter, cursor: page.next_cursor, limit: PAGE - page.tasks.length };
    const part = await get("/tasks/", query, abort);
    page.tasks.push(...part.tasks);
    page.total = part.total;
    page.looked += LOOKED_AT;
    page.next_cursor = part.next_cursor;
    if (page.tasks.length >= PAGE || page.next_cursor === null) break;
  }
  return page;
}

/** Returns `{page, stats}`, both as of `useLoad`. With `paused` the list stays as it is. */
export function useLiveList(filter, cursor, paused) {
  const key = JSON.stringify([filter, cursor]);
  const took = useRef(0);
  const page = useLoad((abort) => loadPage(filter, cursor, abort), [key], { keep: true });
  const stats = useLoad((abort) => get("/stats", inNamespace(), abort), []);
  const { changes, add, settled } = useChanges();

  const soon = useSoon(async () => {
    if (paused) return 0; // it is loaded when the list may move again
    const began = performance.now();
    const seen = settled();
    await Promise.all([page.reload(), stats.reload()]);
    seen();
    took.current = performance.now() - began;
    return took.current * REST;
  });
  const shown = useRef(new Set());
  shown.current = new Set(page.data?.tasks.map(({ task_id: id }) => id));
  const wasPaused = useRef(false);
  useEffect(() => {
    if (wasPaused.current && !paused) soon(0);
    wasPaused.current = paused;
    if (paused) return undefined;
    return listen((change) => {
      const taken = takes(filter, change);
      if (shown.current.has(change.task_id) || (taken && !cursor)) add(change);
      soon(taken === null ? UNTOLD_MS : TOLD_MS);
    }, () => soon(0));
  }, [key, paused]);

  const data = page.data && withChanges(page.data, changes, filter, { first: !cursor, size: PAGE });
  return { page: { ...page, data: useStill(data, paused && !page.loading) }, stats };
}

/** Returns `data`, or while they are held still, what they were when that began. */
function useStill(data, held) {
  const kept = useRef({ data, held });
  if (!(held && kept.current.held)) kept.current = { data, held };
  return kept.current.data;
}

/**
 * Returns `{changes, add, settled}`: the newest change of each task, shown together a few times a
 * second. `settled()` returns a function that drops those that were there at its call.
 */
function useChanges() {
  const [changes, setChanges] = useState(new Map());
  const waiting = useRef({ changes: new Map(), timer: 0 });
  useEffect(() => () => clearTimeout(waiting.current.timer), []);
  const flush = () => {
    const fresh = waiting.current.changes;
    waiting.current = { changes: new Map(), timer: 0 };
    setChanges((known) => {
      const merged = new Map(known);
      for (const [id, change] of fresh) merged.set(id, change);
      return merged;
    });
  };
  const add = (change) => {
    waiting.current.changes.set(change.task_id, change);
    waiting.current.timer ||= setTimeout(flush, TOGETHER_MS);
  };
  const settled = () => {
    const before = new Set([...changes.values(), ...waiting.current.changes.values()]);
    return () => setChanges((known) => new Map([...known].filter(([, change]) => !before.has(change))));
  };
  return { changes, add, settled };
}
