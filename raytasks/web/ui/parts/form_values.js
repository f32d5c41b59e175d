/**
 * What a form of JSON values holds: for each field its JSON as text.
 *
 * Texts are kept as they are entered, so a large integer stays exact.
 */
import { indented, members } from "../core/json_text.js";
import { resolve } from "../core/schema_example.js";

const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;
const LINES = 200; // a text that may be longer gets several lines

/** Returns a schema without references, and without the choice of null. */
function plain(schema, root) {
  let found = schema;
  for (let depth = 0; depth < 8; depth += 1) {
    if (found.$ref) found = { ...resolve(found.$ref, root), ...found, $ref: undefined };
    const choices = (found.anyOf ?? found.oneOf)?.filter(({ type }) => type !== "null");
    if (choices?.length === 1) found = { ...found, ...choices[0], anyOf: undefined, oneOf: undefined };
    else if (found.allOf?.length === 1) found = { ...found, ...found.allOf[0], allOf: undefined };
    else if (!found.$ref) break;
  }
  return found;
}

function kindOf({ type, enum: choices, const: only, format, maxLength, pattern, writeOnly }) {
  if (choices || only !== undefined) return "choice";
  if (type === "boolean") return "choice";
  if (type === "integer" || type === "number") return "number";
  if (type !== "string") return "json";
  if (writeOnly || format === "password") return "secret";
  return format || pattern || maxLength <= LINES ? "line" : "text";
}

/**
 * Returns the fields for a payload's schema: `{name, kind, required, description, choices, ...}`;
 * null if the payload is no object with named members.
 */
export function fieldsOf(schema) {
  const root = schema ?? {};
  const object = plain(root, root);
  const names = Object.keys(object.properties ?? {});
  if (names.length === 0) return null;
  return names.map((name) => {
    const rule = plain(object.properties[name], root);
    const choices = rule.type === "boolean" ? [true, false] : rule.enum ?? (rule.const === undefined ? [] : [rule.const]);
    return {
      name, rule, kind: kindOf(rule), required: (object.required ?? []).includes(name),
      description: rule.description ?? "", choices: choices.map((choice) => JSON.stringify(choice)),
    };
  });
}

/** What is entered in a field, as JSON; null if nothing is given. */
export function jsonOf({ kind, required }, entered) {
  if (kind === "choice" || kind === "json") return entered.trim() === "" ? null : entered.trim();
  if (kind === "number") return numberJson(entered);
  return entered === "" && !required ? null : JSON.stringify(entered);
}

/** A number as JSON, as it was entered; a text if it is no number, so that the service refuses it. */
export function numberJson(entered) {
  const text = entered.trim();
  if (text === "") return null;
  return NUMBER.test(text) ? text : JSON.stringify(text);
}

/** What a field shows of a JSON text; "" if nothing is given. */
export function enteredOf({ kind }, json) {
  if (json === undefined || json === null) return "";
  if (kind === "choice" || kind === "json" || !json.startsWith('"')) return json;
  return JSON.parse(json);
}

/** Why a text is no JSON, or null. */
export function jsonProblem(text) {
  try {
    JSON.parse(text);
    return null;
  } catch (error) {
    return `this is not JSON: ${error.message}`;
  }
}

/** The payload as JSON, of the texts by name; members that have no field are kept. */
export function payloadOf(values) {
  const given = Object.entries(values).filter(([, json]) => json !== null && json !== undefined);
  return `{${given.map(([name, json]) => `${JSON.stringify(name)}:${json}`).join(",")}}`;
}

/** The texts by name, of a payload as JSON; null if it is no object. */
export function valuesOf(text) {
  return jsonProblem(text) === null && text.trim().startsWith("{") ? members(text) : null;
}

/**
 * Sorts the errors of the API: `{fields, others}`. `fields` has the texts by the pointer of a field
 * (`/payload/name` or `/tags`), with the rest of the pointer before the text.
 */
export function sortErrors(errors, pointers) {
  const sorted = { fields: {}, others: [] };
  for (const { pointer, message } of errors) {
    const field = pointers.find((known) => pointer === known || pointer.startsWith(`${known}/`));
    if (!field) { sorted.others.push(`${pointer}: ${message}`); continue; }
    const rest = pointer.slice(field.length);
    (sorted.fields[field] ??= []).push(rest ? `${rest}: ${message}` : message);
  }
  return sorted;
}

/**
 * A field that a person describes: `{name, kind, description, rule, choices, required, words}`. The
 * name `a.b` is a member of a member. With `words`, the line is sent as a list of its words.
 */
export function field(name, kind, description, more = {}) {
  return { name, kind, description, rule: {}, choices: [], required: false, ...more };
}

/** The JSON pointer of such a field in a body. */
export function placeOf({ name }) {
  return `/${name.replaceAll(".", "/")}`;
}

/** A line of words, as the JSON of its list; else the JSON as it is. */
function sentOf({ words }, json) {
  return words && json !== "null" ? JSON.stringify(JSON.parse(json).split(/\s+/).filter(Boolean)) : json;
}

/** The members of a body, of the fields' texts by name; what is null is left out. */
export function bodyParts(fields, values) {
  const parts = {};
  for (const one of fields) {
    const json = values[one.name];
    if (json === null || json === undefined) continue;
    const [outer, inner] = one.name.split(".");
    if (!inner) parts[outer] = sentOf(one, json);
    else parts[outer] = `${parts[outer] ? `${parts[outer].slice(0, -1)},` : "{"}${JSON.stringify(inner)}:${sentOf(one, json)}}`;
  }
  return parts;
}

/** The texts of the fields, of a document's members as texts; without what is null. */
export function textsOf(fields, document) {
  const values = {};
  for (const { name, kind, words } of fields) {
    const json = document[name];
    if (json === undefined || json === "null") continue;
    values[name] = words ? JSON.stringify(JSON.parse(json).join(" ")) : kind === "json" ? indented(json) : json;
  }
  return values;
}

/** The errors of fields that hold no JSON, where they must. */
export function jsonErrors(fields, values) {
  return fields.filter(({ kind, name }) => kind === "json" && values[name]).flatMap((one) => {
    const message = jsonProblem(values[one.name]);
    return message ? [{ pointer: placeOf(one), message }] : [];
  });
}

/** The JSON pointer of a member of the payload. */
export function pointerOf(name) {
  return `/payload/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`;
}
