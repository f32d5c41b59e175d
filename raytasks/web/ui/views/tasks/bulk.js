/**
 * Acts on many tasks: on those that are selected, and on all that the filter matches.
 */
import { ask, get } from "../../core/api.js";
import { number } from "../../core/format.js";
import { attempt, complain, say } from "../../core/notices.js";
import { inNamespace } from "../../core/session.js";
import { ACTS } from "../../core/states.js";
import { confirm } from "../../parts/dialogs.js";
import { inWords } from "./filter.js";

const AT_ONCE = 4;
const LOOK_MS = 400;

const plural = (count) => `${number(count)} ${count === 1 ? "task" : "tasks"}`;

/** Acts on tasks one by one, after a question. `onProgress({done, of})` is called after each. */
export async function actOnSelected(action, tasks, onProgress) {
  const query = inNamespace(); // another one may be shown before it has ended
  const { title, past, sources } = ACTS[action];
  const fitting = tasks.filter(({ state }) => sources.includes(state));
  if (fitting.length === 0) {
    complain(new Error(`none of them can be ${past}: that needs the state ${sources.join(" or ")}`));
    return;
  }
  const others = tasks.length - fitting.length;
  const text = others ? `${plural(others)} of the selected cannot be ${past}, and stay as they are.` : "";
  const sure = await confirm({
    title: `${title} ${plural(fitting.length)}?`, text, act: `${title} ${plural(fitting.length)}`, danger: action === "cancel",
  });
  if (sure === null) return;
  const waiting = [...fitting];
  const failed = [];
  let done = 0;
  const work = async () => {
    for (let task = waiting.shift(); task; task = waiting.shift()) {
      try {
        await ask("POST", `/tasks/${task.task_id}/${action}`, { query });
      } catch (error) {
        failed.push(error);
      }
      done += 1;
      onProgress({ done, of: fitting.length });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  onProgress(null);
  if (failed.length < fitting.length) say(`${plural(fitting.length - failed.length)} ${past}`);
  if (failed.length > 0) complain(new Error(`${plural(failed.length)} not ${past}: ${failed[0].message}`));
}

/**
 * Begins a bulk operation on all tasks that a filter matches: counts them, asks, and posts it.
 *
 * `body` is that of `POST /bulk`. Returns the operation; undefined if nothing was begun.
 */
export async function beginOnAll(body, query = inNamespace()) {
  const { title, past } = ACTS[body.action];
  const counted = await attempt(() => ask("POST", "/bulk", { query, body: { ...body, dry_run: true } }));
  if (!counted) return undefined;
  if (counted.matched === 0) {
    say(`There is nothing to be ${past} with ${inWords(body)}`);
    return undefined;
  }
  const many = counted.matched === null ? "very many tasks" : plural(counted.matched);
  const sure = await confirm({
    title: `${title} ${many}?`, text: `All with ${inWords(body)}, as they are when it begins.`,
    act: `${title} ${many}`, danger: body.action !== "retry",
  });
  if (sure === null) return undefined;
  const key = `page-${Date.now()}-${Math.random().toString(36).slice(2)}`;
  const operation = await attempt(
    () => ask("POST", "/bulk", { query, body, headers: { "Idempotency-Key": key } }),
  );
  operation?.warnings.forEach(say);
  return operation;
}

/**
 * Acts on all tasks that a filter matches: begins the operation, then follows it to its end.
 *
 * `onProgress` gets the operation, and null when it is over.
 */
export async function actOnAll(body, onProgress) {
  const query = inNamespace();
  let operation = await beginOnAll(body, query);
  if (!operation) return;
  await attempt(async () => {
    while (operation.state === "RUNNING") {
      onProgress(operation);
      await new Promise((wake) => { setTimeout(wake, LOOK_MS); });
      operation = await get(`/bulk/${operation.bulk_id}`, query);
    }
  }, () => `${plural(operation.changed)} ${ACTS[body.action].past}`);
  onProgress(null);
}
