/**
 * Schedules in words, and where they are.
 */
const UNITS = [["d", 86_400], ["h", 3600], ["min", 60], ["s", 1]];

const CATCH_UP = {
  none: "no task for missed times", last: "one task, for the newest missed time",
  all: "a task for each missed time",
};

/** The path of a schedule in the API, and in the page. */
export function pathOf(name) {
  return `/schedules/${encodeURIComponent(name)}`;
}

/** All of a duration: 93600 → "1 d 2 h", 1.5 → "1.5 s". */
function exactly(seconds) {
  let left = seconds;
  const parts = UNITS.map(([unit, size]) => {
    const count = unit === "s" ? Number(left.toFixed(3)) : Math.floor(left / size);
    left -= count * size;
    return count > 0 ? `${count} ${unit}` : "";
  });
  return parts.filter(Boolean).join(" ");
}

/** When it is due: "0 9 * * MON-FRI in Europe/Berlin", "every 10 min". */
export function timesText({ cron, every_seconds: seconds, timezone }) {
  return cron === null ? `every ${exactly(seconds)}` : `${cron} in ${timezone}`;
}

/** What becomes of times that were missed. */
export function catchUpText({ catch_up: way, max_catch_up: most }) {
  return way === "all" ? `${CATCH_UP.all}, the newest ${most}` : CATCH_UP[way];
}

/** What happens to times while the last task is open. */
export function overlapText({ overlap }) {
  return overlap === "skip" ? "times are skipped" : "times get tasks, too";
}
