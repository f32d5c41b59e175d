/**
 * Requests as commands for curl.
 */
import { urlOf } from "./api.js";

/** A text as one word of a shell. */
export function shellQuoted(text) {
  return `'${String(text).replaceAll("'", "'\\''")}'`;
}

/**
 * The command that submits a task like this one. `payload` is its JSON text, as it was received.
 * Without `namespace` it goes to the one of the key.
 */
export function curlOf(task, payload, { namespace = null, key = false } = {}) {
  const fields = [`"task_type":${JSON.stringify(task.task_type)}`, `"payload":${payload}`];
  if (task.priority !== 0) fields.push(`"priority":${task.priority}`);
  fields.push(`"max_attempts":${task.max_attempts}`);
  if (task.timeout_seconds !== null) fields.push(`"timeout_seconds":${task.timeout_seconds}`);
  if (task.tags.length > 0) fields.push(`"tags":${JSON.stringify(task.tags)}`);
  return [
    `curl --json ${shellQuoted(`{${fields.join(",")}}`)}`,
    ...(key ? ['  --header "Authorization: Bearer $RAYTASKS_API_KEY"'] : []),
    `  ${shellQuoted(urlOf("/tasks/", { namespace: namespace === "default" ? null : namespace }))}`,
  ].join(" \\\n");
}
