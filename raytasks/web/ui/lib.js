/**
 * The libraries, in one place: Preact, its hooks, signals, and htm bound to Preact.
 *
 * All other modules import from here, so that a vendored file has one importer.
 */
import { h, render, Fragment } from "../vendor/preact/dist/preact.mjs";
import htm from "../vendor/htm/dist/htm.mjs";

export {
  useEffect, useLayoutEffect, useMemo, useRef, useState, useCallback, useId,
} from "../vendor/preact/hooks/dist/hooks.mjs";
export {
  signal, computed, effect, batch, untracked, useSignal, useComputed, useSignalEffect,
} from "../vendor/@preact/signals/dist/signals.mjs";

export { h, render, Fragment };

/** The template tag: html`<${Component} name=${value} />`. */
export const html = htm.bind(h);
