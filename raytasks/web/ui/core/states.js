/**
 * The states of a task: their order, and what may be done in which.
 */

/** All states, in the order of a task's life. */
export const STATES = ["PENDING", "RUNNING", "RETRYING", "COMPLETED", "FAILED", "CANCELLED"];

/** The acts on tasks, with the states in which they are possible. */
export const ACTS = {
  retry: { title: "Retry", past: "retried", sources: ["FAILED", "CANCELLED"] },
  cancel: { title: "Cancel", past: "cancelled", sources: ["PENDING", "RETRYING", "RUNNING"] },
  delete: { title: "Delete", past: "deleted", sources: ["COMPLETED", "FAILED", "CANCELLED"] },
};

/** Whether a task in this state waits. Only then it can be changed. */
export function isWaiting(state) {
  return state === "PENDING" || state === "RETRYING";
}

/** Whether a task in this state has ended. */
export function isFinal(state) {
  return state === "COMPLETED" || state === "FAILED" || state === "CANCELLED";
}
