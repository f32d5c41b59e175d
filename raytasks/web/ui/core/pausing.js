/**
 * Pauses: the questions before them, and the requests.
 *
 * What is paused is `{task_type, namespace}`; without either, the whole service.
 */
import { confirm } from "../parts/dialogs.js";
import { ask } from "./api.js";
import { attempt } from "./notices.js";

/** Returns in words what a pause is about. */
export function scopeText({ task_type: type, namespace }) {
  if (!type && !namespace) return "the whole service";
  if (!namespace) return `the type ${type}`;
  return type ? `the type ${type} in the namespace ${namespace}` : `the namespace ${namespace}`;
}

function bodyOf({ task_type: type, namespace }) {
  return { ...(type && { task_type: type }), ...(namespace && { namespace }) };
}

/** Asks for how long, and pauses. Resolves to whether it was done. */
export async function pause(scope) {
  const what = scopeText(scope);
  const minutes = await confirm({
    title: `Pause ${what}?`, act: "Pause", danger: true, field: "For how many minutes? Empty: until somebody resumes it",
    text: "Its tasks are still accepted, and wait. What runs goes on.",
  });
  if (minutes === null) return false;
  const body = bodyOf(scope);
  // What is no number is sent as it is: the service says what is wrong with it.
  if (minutes.trim()) body.seconds = Number(minutes) * 60 || minutes;
  return (await attempt(() => ask("POST", "/pause", { body }), `Paused ${what}`)) !== undefined;
}

/** Ends a pause. Resolves to whether it was done. */
export async function resume(scope) {
  const act = () => ask("POST", "/resume", { body: bodyOf(scope) });
  return (await attempt(act, `Tasks of ${scopeText(scope)} are handed out again`)) !== undefined;
}
