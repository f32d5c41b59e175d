/**
 * The task types of this service, loaded once for all views.
 */
import { useEffect, useState } from "../lib.js";
import { get } from "./api.js";
import { me } from "./session.js";

let loaded = null;
let loadedFor = null;

/** Returns the promise of the answer of `GET /task-types`. */
export function taskTypes() {
  if (loadedFor !== me.peek()) {
    loadedFor = me.peek();
    loaded = get("/task-types");
    loaded.catch(() => { loadedFor = null; });
  }
  return loaded;
}

/** Returns the types, or [] while they are not there. */
export function useTaskTypes() {
  const [types, setTypes] = useState([]);
  useEffect(() => {
    let wanted = true;
    taskTypes().then((answer) => { if (wanted) setTypes(answer.task_types ?? answer); }, () => {});
    return () => { wanted = false; };
  }, []);
  return types;
}
