/**
 * A task as it is now, with its log: loaded, then followed by its own stream of events.
 */
import { signal, useEffect, useMemo, useRef } from "../../lib.js";
import { send } from "../../core/api.js";
import { followInstead, listen } from "../../core/feed.js";
import { members } from "../../core/json_text.js";
import { useLoad, useRefresh } from "../../core/loading.js";
import { inNamespace } from "../../core/session.js";
import { isFinal } from "../../core/states.js";

const LOOK_SECONDS = 4; // why it waits, and its signs of life, come without an event

/** Loads a task. Its values are also kept as the JSON texts that were received: `texts`, by name. */
async function load(id, abort) {
  const text = await (await send("GET", `/tasks/${id}`, { query: inNamespace(), abort })).text();
  return { ...JSON.parse(text), texts: members(text) };
}

/**
 * Returns `{task, lines, progress}`: the task as of `useLoad`, and signals of the lines of its log
 * (`{attempt, level, message, at}`; null until they are known) and of its newest progress, or null.
 */
export function useTask(id) {
  const task = useLoad((abort) => load(id, abort), [id]);
  const lines = useMemo(() => signal(null), [id]);
  const progress = useMemo(() => signal(null), [id]);
  const there = task.data !== undefined;
  const { reload } = task;
  const revision = useRef(-1);
  revision.current = task.data?.revision ?? -1;
  const final = useRef(false);
  final.current = there && isFinal(task.data.state);
  const waits = there && !isFinal(task.data.state);
  useRefresh(LOOK_SECONDS, { ...task, reload: () => waits && reload() });

  useEffect(() => {
    if (!there) return undefined;
    let stop = () => {};
    let ended = false;
    let newest = revision.current;
    let frame = 0;
    let fresh = [];
    const flush = () => {
      frame = 0;
      lines.value = (lines.peek() ?? []).concat(fresh);
      fresh = [];
    };
    const begin = () => {
      ended = false;
      fresh = [];
      stop = followInstead(`/tasks/${id}/events`, {
        query: inNamespace(),
        ends: ({ type }) => type === "end",
        onOpen: (resumed) => { if (!resumed) { lines.value = null; fresh = []; } },
        onRead: () => { if (fresh.length === 0 && (ended || !final.current)) lines.value ??= []; },
        onState: (state) => { ended = state === "ended"; },
        onEvent: ({ type, data }) => {
          if (type === "log") {
            fresh.push(JSON.parse(data));
            frame ||= setTimeout(flush, 50);
          } else if (type === "progress") progress.value = JSON.parse(data);
          else if (type === "state") {
            const told = JSON.parse(data).revision;
            newest = Math.max(newest, told);
            if (told > revision.current) soon();
          }
        },
      });
    };
    let timer = 0;
    const soon = () => { timer ||= setTimeout(() => { timer = 0; reload(); }, 100); };
    begin();
    // After the end, only a retry goes on with the task. The feed of all tasks tells of it, and late
    // of what its own stream has told.
    const unlisten = listen((change) => {
      if (change.task_id !== id || change.revision <= newest) return;
      soon();
      if (ended) begin();
    }, soon);
    return () => { stop(); unlisten(); clearTimeout(timer); clearTimeout(frame); };
  }, [id, there]);
  return { task, lines, progress };
}
