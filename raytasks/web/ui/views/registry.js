/**
 * The views: their paths, titles, and who may see them. The header and the router ask here.
 *
 * A view is `{path, title, key, allowed, View}`. `path` is a pattern (`/tasks/:id`). With `key`, the
 * keys `g` and it lead there. A view without a `title` is not in the header. `allowed()` says whether
 * this session may see it. `View` gets the values of the path as its props.
 */
import { match } from "../core/router.js";
import { audit } from "./audit/audit.js";
import { bulk } from "./bulk/bulk_list.js";
import { newOperation } from "./bulk/new_operation.js";
import { operation } from "./bulk/operation.js";
import { errors } from "./errors/errors.js";
import { first } from "./first/first.js";
import { limits } from "./limits/limits.js";
import { log } from "./log/log.js";
import { overview } from "./overview/overview.js";
import { runners } from "./runners/runners.js";
import { schedule } from "./schedules/schedule.js";
import { schedules } from "./schedules/schedules.js";
import { newSchedule, setSchedule } from "./schedules/set_schedule.js";
import { tasks } from "./tasks/tasks.js";
import { task } from "./task/task.js";
import { type } from "./types/type.js";
import { types } from "./types/types.js";

const VIEWS = [
  first, overview, tasks, task, errors, types, type, schedules, newSchedule, schedule, setSchedule,
  runners, limits, bulk, newOperation, operation, audit, log,
];

/** Returns the views that the header shows. */
export function shownViews() {
  return VIEWS.filter(({ title, allowed }) => title && allowed());
}

/** Returns the view of a path with its values, or null. */
export function viewOf(path) {
  for (const view of VIEWS) {
    const values = match(view.path, path);
    if (values) return { view, values };
  }
  return null;
}
