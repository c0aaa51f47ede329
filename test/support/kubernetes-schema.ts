/** Checks manifests as an API server with `fieldValidation: Strict` does, by the client library's own tables. */
import * as models from "@kubernetes/client-node";

interface Attribute {
  readonly baseName: string;
  readonly type: string;
}

interface Model {
  getAttributeTypeMap(): readonly Attribute[];
}

const SCALARS: Readonly<Record<string, readonly string[]>> = {
  string: ["string"],
  number: ["number"],
  boolean: ["boolean"],
  Date: ["string"],
  IntOrString: ["string", "number"],
};

/** Sentences like `spec.template.spec.containers[0].imag: unknown field`; none when it is right. */
export function manifestProblems(type: string, value: unknown, path = ""): readonly string[] {
  const list = /^Array<(.+)>$/.exec(type)?.[1];
  if (list !== undefined) {
    return Array.isArray(value)
      ? value.flatMap((item, index) => manifestProblems(list, item, `${path}[${index}]`))
      : [`${path}: must be a list`];
  }
  const map = /^\{ \[key: string\]: (.+); \}$/.exec(type)?.[1];
  if (map !== undefined || modelOf(type) !== undefined) {
    return isRecord(value) ? recordProblems(type, map, value, path) : [`${path}: must be a map`];
  }
  const allowed = SCALARS[type];
  return allowed === undefined || allowed.includes(typeof value)
    ? []
    : [`${path}: must be ${allowed.join(" or ")}, is ${typeof value}`];
}

function recordProblems(
  type: string,
  map: string | undefined,
  value: Readonly<Record<string, unknown>>,
  path: string,
): readonly string[] {
  const types = new Map(
    modelOf(type)
      ?.getAttributeTypeMap()
      .map((attribute) => [attribute.baseName, attribute.type]),
  );
  return Object.entries(value).flatMap(([key, item]) => {
    const below = path === "" ? key : `${path}.${key}`;
    const found = map ?? types.get(key);
    return found === undefined ? [`${below}: unknown field`] : manifestProblems(found, item, below);
  });
}

function modelOf(type: string): Model | undefined {
  const found: unknown = Reflect.get(models, type);
  return isModel(found) ? found : undefined;
}

function isModel(value: unknown): value is Model {
  return typeof value === "function" && "getAttributeTypeMap" in value;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
