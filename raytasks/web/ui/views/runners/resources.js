/**
 * Resources by Ray's names, as texts.
 */
import { size } from "../../core/format.js";

const WORDS = { object_store_memory: "object store" };

function amountText(name, amount) {
  return name.endsWith("memory") ? size(amount) : `${Number(amount.toFixed(2))}`;
}

/** A resource's name in words. */
export function resourceName(name) {
  return WORDS[name] ?? name;
}

/** An amount of a resource: "1.5 CPU", "2.0 GB memory". */
export function resourceText(name, amount) {
  return `${amountText(name, amount)} ${resourceName(name)}`;
}

/** How much of a resource is used: "2.5 of 4", "1.0 GB of 8.0 GB"; what is free may be unknown. */
export function usedText(name, { total, free }) {
  return `${free === null ? "?" : amountText(name, total - free)} of ${amountText(name, total)}`;
}
