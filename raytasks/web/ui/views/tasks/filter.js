/**
 * The one filter of lists and bulk operations: in the URL, in requests, and in words.
 */
import { localTime } from "../../core/format.js";
import { place } from "../../core/router.js";
import { ACTS, STATES } from "../../core/states.js";

/** The parts of the filter besides the states. */
export const PARTS = ["task_type", "tag", "created_after", "created_before", "error_type"];

/** Returns the filter in the URL: `{state: [...], task_type, ...}`, "" for what is not there. */
export function filterOf(query = place.value.query) {
  const asked = query.getAll("state").map((name) => name.toUpperCase());
  const filter = { state: STATES.filter((state) => asked.includes(state)) };
  for (const name of PARTS) filter[name] = query.get(name) ?? "";
  return filter;
}

/** Whether the filter leaves anything out. */
export function isNarrow(filter) {
  return filter.state.length > 0 || PARTS.some((name) => filter[name]);
}

/** The body of `POST /bulk` for an act on what the filter matches; null if it can match nothing. */
export function bulkOf(action, filter) {
  const { sources } = ACTS[action];
  const wanted = filter.state.filter((state) => sources.includes(state));
  if (filter.state.length > 0 && wanted.length === 0) return null;
  const usual = action === "retry" ? ["FAILED"] : sources;
  const body = { action, state: wanted.length > 0 ? wanted : usual };
  for (const name of PARTS) if (filter[name]) body[name] = filter[name];
  return body;
}

/** The filter of a bulk operation in words. */
export function inWords(body) {
  const words = body.state === null ? [] : [`state ${[body.state].flat().join(" or ")}`];
  if (body.task_type) words.push(`type ${body.task_type}`);
  if (body.tag) words.push(`tag ${body.tag}`);
  if (body.error_type) words.push(`error ${body.error_type}`);
  if (body.created_after) words.push(`created from ${localTime(body.created_after)} on`);
  if (body.created_before) words.push(`created before ${localTime(body.created_before)}`);
  return words.join(", ") || "any state";
}

/** The query values of the list with the filter of a bulk operation, as the API shows it. */
export function placeOf(filter) {
  const values = { state: filter.state === null ? [] : [filter.state].flat() };
  for (const name of PARTS) if (filter[name]) values[name] = filter[name];
  return values;
}
