/**
 * Times, durations, numbers and sizes, as texts of steady width.
 */

const NUMBER = new Intl.NumberFormat("en");
const SIZES = ["B", "kB", "MB", "GB", "TB"];

/** 1234567 → "1,234,567"; null → "–". */
export function number(value) {
  return value === null || value === undefined ? "–" : NUMBER.format(value);
}

/** 0.1234 → "12.3 %". */
export function percent(share) {
  return share === null || share === undefined ? "–" : `${(share * 100).toFixed(1)} %`;
}

/** 1536 → "1.5 kB". */
export function size(bytes) {
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < SIZES.length - 1) { value /= 1000; unit += 1; }
  return `${unit === 0 ? value : value.toFixed(1)} ${SIZES[unit]}`;
}

/** 0.001 → "< 0.01", 0.25 → "0.25", 12.34 → "12.3", 1234.5 → "1,235": a rate in few digits. */
export function rate(value) {
  if (value === null || value === undefined) return "–";
  if (value > 0 && value < 0.01) return "< 0.01";
  if (value >= 1e6) return `${(value / 1e6).toFixed(1)} M`;
  if (value >= 100 || Number.isInteger(value)) return number(Math.round(value));
  return value.toFixed(value >= 10 ? 1 : 2);
}

/** Seconds as a short text: "12 ms", "3.4 s", "5 min 20 s", "3 h 12 min", "2 d 4 h". Never negative. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return "–";
  const all = Math.max(0, seconds);
  if (all < 1) return `${Math.round(all * 1000)} ms`;
  if (all < 60) return `${all.toFixed(1)} s`;
  const whole = Math.round(all);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

/** Whole seconds as the same short text: for what counts up while one looks. */
export function wholeDuration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  return whole < 60 ? `${whole} s` : duration(whole);
}

/** Seconds in the largest unit alone, for narrow columns: "59 min", "3 h". */
export function coarse(seconds) {
  return wholeDuration(seconds).split(" ").slice(0, 2).join(" ");
}

/** Seconds between two times (RFC 3339 texts, or milliseconds); null if one is missing. */
export function between(from, to) {
  if (!from || !to) return null;
  return (milliseconds(to) - milliseconds(from)) / 1000;
}

/** Milliseconds since the epoch, of an RFC 3339 text or of themselves. */
export function milliseconds(time) {
  return typeof time === "number" ? time : Date.parse(time);
}

/** How long ago, or in how long: "12 s ago", "in 3 min 4 s". */
export function ago(time, now) {
  const seconds = (now - milliseconds(time)) / 1000;
  if (seconds < -1) return `in ${wholeDuration(-seconds)}`;
  return seconds < 1 ? "just now" : `${wholeDuration(seconds)} ago`;
}

const two = (value) => String(value).padStart(2, "0");

/** The local hour and minute: "14:03"; at midnight the day: "11-28". */
export function clockTime(time) {
  const at = new Date(milliseconds(time));
  const clock = `${two(at.getHours())}:${two(at.getMinutes())}`;
  return clock === "00:00" ? `${two(at.getMonth() + 1)}-${two(at.getDate())}` : clock;
}

/** The local time: "2026-11-28 14:03:09", with `millis` also ".123". */
export function localTime(time, { millis = false } = {}) {
  const at = new Date(milliseconds(time));
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  const clock = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  return `${day} ${clock}${millis ? `.${String(at.getMilliseconds()).padStart(3, "0")}` : ""}`;
}
