/**
 * The charts: how the figures of `GET /stats/series` were over the last hour or day.
 */
import { html, useMemo } from "../../lib.js";
import { duration, milliseconds, rate } from "../../core/format.js";
import { Chart, STROKES } from "../../parts/chart.js";

/** Values of what happened in each step. The last step still goes on, and would seem to fall. */
function whole(values) {
  return [...values.slice(0, -1), null];
}

function perMinute(values, step) {
  return whole(values).map((value) => (value === null ? null : (value * 60) / step));
}

/** The backlogs of the types with the largest, and of all others together. */
function backlogLines({ backlog, backlog_by_type: byType, omitted_types: omitted }) {
  const names = Object.keys(byType);
  const lines = names.map((name, index) => ({ label: name, values: byType[name], ...STROKES[index] }));
  if (omitted === 0) return lines.length > 0 ? lines : [{ label: "all", values: backlog, ...STROKES[0] }];
  const others = backlog.map((all, index) => (all === null ? null
    : all - names.reduce((sum, name) => sum + (byType[name][index] ?? 0), 0)));
  return [...lines, { label: `${omitted} other ${omitted === 1 ? "type" : "types"}`, values: others, ...STROKES.at(-1) }];
}

function linesOf(series) {
  const step = series.step_seconds;
  return {
    rates: [
      { label: "submitted", values: perMinute(series.submitted, step), colour: "line-1", dash: [7, 3] },
      { label: "completed", values: perMinute(series.completed, step), colour: "good" },
    ],
    failures: [{ label: "failed", values: perMinute(series.failed, step), colour: "bad" }],
    waits: [
      { label: "half waited up to", values: whole(series.queue_wait.p50), colour: "line-1" },
      { label: "95 % waited up to", values: whole(series.queue_wait.p95), colour: "line-2", dash: [7, 3] },
    ],
    backlogs: backlogLines(series),
  };
}

/** The charts of a series. */
export function Charts({ series }) {
  const times = useMemo(() => {
    const since = milliseconds(series.since) / 1000;
    return series.submitted.map((_, index) => since + index * series.step_seconds);
  }, [series]);
  const { rates, failures, waits, backlogs } = useMemo(() => linesOf(series), [series]);
  return html`<div class="charts">
    <section class="panel"><${Chart} title="Throughput" note="tasks per minute" times=${times} lines=${rates} format=${rate} /></section>
    <section class="panel"><${Chart} title="Failures" note="tasks that became FAILED, per minute" times=${times} lines=${failures} format=${rate} /></section>
    <section class="panel"><${Chart} title="Waits" note="from due to begun" times=${times} lines=${waits} format=${duration} /></section>
    <section class="panel"><${Chart} title="Backlog" note="tasks that wait, due or not" times=${times} lines=${backlogs} format=${rate} /></section>
  </div>`;
}
