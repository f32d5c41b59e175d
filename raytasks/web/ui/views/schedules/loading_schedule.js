/**
 * One schedule of the namespace, with its values as the service has sent them.
 */
import { send } from "../../core/api.js";
import { members } from "../../core/json_text.js";
import { inNamespace } from "../../core/session.js";

/**
 * Returns a schedule with `texts`: the JSON texts of what is in force, by name, so that a large
 * integer in its payload stays exact. Returns null if there is no such schedule.
 */
export async function loadSchedule(name, abort) {
  const text = await (await send("GET", "/schedules", { query: { ...inNamespace(), name }, abort })).text();
  const [schedule] = JSON.parse(text).schedules;
  if (!schedule) return null;
  const whole = members(text).schedules.trim().slice(1, -1); // one in a list
  return { ...schedule, texts: members(members(whole).in_force) };
}
