/**
 * What can be done with a schedule: run it now, pause it, resume it, return to what is declared.
 */
import { ask } from "../../core/api.js";
import { attempt } from "../../core/notices.js";
import { go } from "../../core/router.js";
import { inNamespace, inUrl } from "../../core/session.js";
import { confirm } from "../../parts/dialogs.js";
import { pathOf } from "./schedule_words.js";

/** Submits a task of the schedule now, after a question, and goes to it. */
export async function runNow({ name, in_force: spec }) {
  const query = inNamespace(); // another one may be shown before the answer
  const sure = await confirm({
    title: `Run ${name} now?`, act: "Run it now",
    text: `A task of the type ${spec.task_type} is submitted. The schedule's times do not change.`,
  });
  if (sure === null) return;
  const task = await attempt(() => ask("POST", `${pathOf(name)}/run`, { query }), `${name} runs now`);
  if (task) go(`/tasks/${task.task_id}`, inUrl(query));
}

/** Pauses the schedule, or ends its pause. Resolves to whether it was done. */
export async function turn({ name, paused }) {
  const query = inNamespace();
  const act = paused ? "resume" : "pause";
  if (!paused) {
    const sure = await confirm({
      title: `Pause ${name}?`, act: "Pause", danger: true,
      text: "Its times pass without tasks until somebody resumes it. They are not caught up.",
    });
    if (sure === null) return false;
  }
  const done = paused ? `${name} goes on with its next time` : `Paused ${name}`;
  return (await attempt(() => ask("POST", `${pathOf(name)}/${act}`, { query }), done)) !== undefined;
}

/** Takes away what a person has set, after a question. Resolves to whether it was done. */
export async function clear({ name, declared }) {
  const query = inNamespace();
  const sure = await confirm({
    title: declared ? `Return ${name} to what is declared?` : `End ${name}?`, danger: true,
    act: declared ? "Return to it" : "End the schedule",
    text: declared ? "What was set is forgotten." : "No handler declares it, so it ends. Its tasks stay.",
  });
  if (sure === null) return false;
  const done = declared ? `${name} is as declared` : `${name} has ended`;
  return (await attempt(() => ask("DELETE", pathOf(name), { query }), done)) !== undefined;
}
