/**
 * Braces of other languages inside commands: `docker ps --format '{{.Names}}'`, `{{json .}}`,
 * `{{range .items}}…{{end}}` of kubectl and helm, awk's `{{print $1}}`. Nothing of ours begins a name
 * with a dot or a dollar sign, so such tags stay as they are written: they become raw blocks.
 */
import type { Json } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import type { Report } from "./report.ts";
import { joinPath } from "./yaml.ts";

const TAG = /\{\{[\s\S]*?\}\}/g;
const QUOTED = /"(?:[^"\\]|\\[\s\S])*"|'(?:[^'\\]|\\[\s\S])*'|`[^`]*`/g;
const FIELD_OR_VARIABLE = /(?:^|[\s(,|])[.$](?:\w|[\s)]|$)/;
const COMMENT = /^\/\*/;
/** Part of a foreign text when another tag shows that it is one. */
const COMPANION = /^(?:end|else|define|template|block|break|continue)\b|^$/;
const RAW = /\{%[-+]?\s*raw\b/;

/** The value with foreign tags protected from rendering. Warns of each text (TEMPLATE_FOREIGN). */
export function keepForeign(report: Report, value: Json, path: string): Json {
  if (typeof value === "string") {
    return keepInText(report, value, path);
  }
  if (Array.isArray(value)) {
    const items: readonly Json[] = value;
    return items.map((item, index) => keepForeign(report, item, `${path}[${index}]`));
  }
  return isJsonObject(value)
    ? Object.fromEntries(
        Object.entries(value).map(([key, item]) => [
          key,
          keepForeign(report, item, joinPath(path, key)),
        ]),
      )
    : value;
}

function keepInText(report: Report, text: string, path: string): string {
  const first = text.match(TAG)?.find((tag) => isForeign(bareInside(tag)));
  if (first === undefined || RAW.test(text)) {
    return text;
  }
  const message = `${first} is no template of ours and stays as it is; {% raw %} around it says so`;
  report.warn("TEMPLATE_FOREIGN", path, message);
  return text.replaceAll(TAG, (tag) => {
    const inside = bareInside(tag);
    return isForeign(inside) || COMPANION.test(inside) ? `{% raw %}${tag}{% endraw %}` : tag;
  });
}

/** What stands inside the braces, without the texts in quotes. */
function bareInside(tag: string): string {
  const inside = tag.slice(2, -2).replace(/^-/, "").replace(/-$/, "").trim();
  return COMMENT.test(inside) ? inside : inside.replaceAll(QUOTED, "").trim();
}

function isForeign(inside: string): boolean {
  return COMMENT.test(inside) || FIELD_OR_VARIABLE.test(inside);
}
