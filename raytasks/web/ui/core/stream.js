/**
 * A stream of server-sent events by `fetch`: EventSource cannot send a key.
 *
 * It connects again by itself, with jitter, after the last id that it has seen, and not before an
 * answer's `Retry-After`. It rests while the tab is hidden.
 */
import { effect } from "../lib.js";
import { send } from "./api.js";
import { visible } from "./visible.js";

const SILENCE = 25_000; // the service sends a sign of life every 10 s
const LONGEST_PAUSE = 15_000;

/**
 * Follows a stream, and returns the function that ends it.
 *
 * `onEvent({type, id, data})` gets each event, with `data` as text. `onOpen(resumed)` is called at
 * each connection; `resumed` says whether it goes on after an id, so that nothing is missed unless a
 * `gap` comes. `onState` gets `connecting`, `live`, `away` (from a loss until it is live again),
 * `paused`, `ended`, or an ApiError that no new try would mend. `ends(event)` says whether the stream
 * is over with this event. `onRead` is called after each piece that has come, with events or without:
 * after the first one, all is known that was there before. While the signal `rests` is true, it is
 * `paused`, and goes on afterwards as after a loss.
 */
export function follow(path, { query, onEvent, onOpen, onRead, onState, rests, ends = () => false }) {
  let last = null;
  let over = false;
  let running = null;
  let pause = 0;
  let timer = 0;
  let lost = false;

  function connect() {
    const abort = new AbortController();
    running = abort;
    if (!lost) onState?.("connecting");
    read(abort).then(
      () => again(abort),
      (error) => {
        if (error.name === "AbortError" && !abort.silent) return;
        if (["refused", "missing", "invalid"].includes(error.kind)) finish(error);
        else again(abort, error.restMs);
      },
    );
  }

  function again(abort, restMs = 0) {
    if (over || running !== abort) return;
    running = null;
    lost = true;
    onState?.("away");
    const wait = Math.min(LONGEST_PAUSE, 500 * 2 ** pause) * (0.5 + Math.random());
    pause += 1;
    timer = setTimeout(connect, Math.max(wait, restMs));
  }

  function finish(state) {
    over = true;
    onState?.(state);
    stop();
  }

  async function read(abort) {
    const headers = { Accept: "text/event-stream" };
    if (last) headers["Last-Event-ID"] = last;
    const guard = watch(abort);
    try {
      const answer = await send("GET", path, { query, headers, abort: abort.signal });
      lost = false;
      onState?.("live");
      onOpen?.(last !== null);
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      const parser = new Parser();
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        guard.seen();
        pause = 0;
        for (const event of parser.take(value)) {
          if (event.id !== null) last = event.id;
          if (event.data === null) continue;
          onEvent(event);
          if (ends(event)) { finish("ended"); onRead?.(); return; }
        }
        onRead?.();
      }
    } finally {
      guard.end();
    }
  }

  const unwatch = effect(() => {
    if (over) return;
    if (visible.value && !rests?.value) {
      if (!running) { clearTimeout(timer); connect(); }
    } else {
      clearTimeout(timer);
      const open = running;
      running = null;
      open?.abort();
      lost = false;
      onState?.("paused");
    }
  });

  function stop() {
    over = true;
    clearTimeout(timer);
    const open = running;
    running = null;
    open?.abort();
    queueMicrotask(unwatch);
  }
  return stop;
}

/** Aborts a connection that is silent for too long. */
function watch(abort) {
  let timer = 0;
  const seen = () => {
    clearTimeout(timer);
    timer = setTimeout(() => { abort.silent = true; abort.abort(); }, SILENCE);
  };
  seen();
  return { seen, end: () => clearTimeout(timer) };
}

/** Makes events of the text of a stream, which comes in any pieces. */
export class Parser {
  #rest = "";

  /** Returns the events that are complete with this piece. Such without data have only an id. */
  take(piece) {
    const blocks = (this.#rest + piece).split("\n\n");
    this.#rest = blocks.pop();
    return blocks.map(eventOf).filter((event) => event.id !== null || event.data !== null);
  }
}

function eventOf(block) {
  const event = { type: "message", id: null, data: null };
  for (const line of block.split("\n")) {
    const [name, value = ""] = line.split(/: ?(.*)/s);
    if (name === "event") event.type = value;
    else if (name === "id") event.id = value;
    else if (name === "data") event.data = event.data === null ? value : `${event.data}\n${value}`;
  }
  return event;
}
