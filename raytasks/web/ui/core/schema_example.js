/**
 * An example of a value that a JSON Schema takes: the schema's own, or one made of its rules.
 */

const MAX_DEPTH = 6;

/** Returns an example for a schema. `root` has the definitions that it refers to. */
export function exampleOf(schema, root = schema, depth = 0) {
  if (depth > MAX_DEPTH || typeof schema !== "object" || schema === null) return null;
  if (schema.$ref) return exampleOf(resolve(schema.$ref, root), root, depth + 1);
  const own = schema.examples?.[0] ?? schema.default ?? schema.const ?? schema.enum?.[0];
  if (own !== undefined) return own;
  const choice = (schema.anyOf ?? schema.oneOf ?? schema.allOf)?.find(({ type }) => type !== "null");
  if (choice) return exampleOf(choice, root, depth + 1);
  const type = [schema.type].flat().find((name) => name !== "null");
  switch (type) {
    case "object": return object(schema, root, depth);
    case "array": return Array.from({ length: schema.minItems ?? 0 },
      () => exampleOf(schema.items ?? { type: "string" }, root, depth + 1));
    case "string": return text(schema);
    case "integer":
    case "number": return schema.minimum ?? (schema.exclusiveMinimum === undefined ? 1 : schema.exclusiveMinimum + 1);
    case "boolean": return false;
    default: return depth === 0 ? {} : "example";
  }
}

/** Returns what a reference such as `#/$defs/Card` leads to. */
export function resolve(reference, root) {
  return reference.split("/").slice(1).reduce((found, name) => found?.[name], root) ?? {};
}

function object(schema, root, depth) {
  const value = {};
  for (const name of schema.required ?? []) {
    const rule = schema.properties?.[name] ?? {};
    const isPlace = rule.type === "string" && /(^|_)ur[il]$/.test(name); // many do not say so
    value[name] = exampleOf(isPlace ? { format: "uri", ...rule } : rule, root, depth + 1);
  }
  return value;
}

function text(schema) {
  const formats = {
    "date-time": "2030-01-31T12:00:00Z", date: "2030-01-31", uuid: "00000000-0000-4000-8000-000000000000",
    email: "someone@example.org", uri: "https://example.org/",
  };
  return formats[schema.format] ?? "example".padEnd(schema.minLength ?? 0, ".").slice(0, schema.maxLength);
}
