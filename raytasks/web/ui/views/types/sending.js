/**
 * Submissions of a form: safe to repeat, and followed afterwards.
 */
import { useEffect, useRef, useState } from "../../lib.js";
import { send } from "../../core/api.js";
import { listen } from "../../core/feed.js";
import { complain, say } from "../../core/notices.js";
import { inNamespace } from "../../core/session.js";

const SAME_MS = 2000; // a click so soon after an answer is the second of a double click
const KEPT = 5;

/**
 * Returns `{submit, busy, sent}`. `submit(body)` sends the JSON text of a submission, and returns
 * its error or null. While one is on its way, or just after, the same body makes no second task.
 * After an outage it has the same idempotency key again. `sent` are the newest tasks, with their
 * states as they are now; a `duplicate` is one that held the unique key.
 */
export function useSending() {
  const last = useRef({ body: null, key: "", until: Infinity });
  const running = useRef(false);
  const [busy, setBusy] = useState(false);
  const [sent, setSent] = useState([]);
  useEffect(() => listen(({ task_id: id, state }) => setSent((all) => (all.some((task) => task.task_id === id)
    ? all.map((task) => (task.task_id === id ? { ...task, state } : task)) : all)), () => {}), []);

  const keyFor = (body) => {
    const same = last.current.body === body && performance.now() < last.current.until;
    if (!same) last.current = { body, key: `page-${Date.now()}-${Math.random().toString(36).slice(2)}`, until: Infinity };
    return last.current.key;
  };
  const submit = async (body) => {
    if (running.current) return null;
    running.current = true;
    setBusy(true);
    try {
      const headers = { "Idempotency-Key": keyFor(body) };
      const answer = await send("POST", "/tasks/", { query: inNamespace(), body, headers });
      const { task_id: id, task_type: type, state } = await answer.json();
      last.current.until = performance.now() + SAME_MS;
      const duplicate = answer.headers.get("Raytasks-Duplicate") === "true";
      setSent((all) => [{ task_id: id, task_type: type, state, duplicate }, ...all.filter((task) => task.task_id !== id)].slice(0, KEPT));
      if (answer.status === 202) say(`Submitted ${type}`);
      else if (duplicate) say(`No new task: ${JSON.parse(body).unique.on_conflict === "replace" ? "the open task with the unique key has its values now" : "an open task holds the unique key"}`);
      return null;
    } catch (error) {
      if (!("kind" in error)) throw error;
      if (error.kind !== "invalid" || error.errors.length === 0 || error.status === 409) complain(error);
      return error;
    } finally {
      running.current = false;
      setBusy(false);
    }
  };
  return { submit, busy, sent };
}
