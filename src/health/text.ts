/** A report for people: one row a component, what is wrong, and below it what to do. */
import type { HealthStatus } from "./finding.ts";
import type { Change, Sinces } from "./history.ts";
import type { ComponentHealth, HealthReport } from "./report.ts";

export interface TextStyle {
  readonly hasColor: boolean;
  /** Columns; longer sentences go on in the next line. */
  readonly width: number;
  /** Shows since when, for those who watch. */
  readonly sinces?: Sinces | undefined;
}

const COLORS: Readonly<Record<HealthStatus, string>> = {
  ok: "32",
  unknown: "35",
  degraded: "33",
  down: "31",
  not_configured: "90",
};
const GAP = "  ";
const WIDTH_MIN = 30;

export function reportText(report: HealthReport, style: TextStyle): string {
  const shown = report.components.filter(({ status }) => status !== "not_configured");
  const others = report.components.filter(({ status }) => status === "not_configured");
  const columns = columnsOf(shown, style);
  return [
    ...(shown.length === 0 ? [] : [headings(columns)]),
    ...shown.flatMap((health) => rowLines(health, columns, style)),
    ...unconfiguredLines(others, style),
    "",
    verdict(report, style),
  ].join("\n");
}

interface Columns {
  readonly component: number;
  readonly status: number;
  readonly since: number;
}

function columnsOf(shown: readonly ComponentHealth[], { sinces }: TextStyle): Columns {
  const longest = (texts: readonly string[]): number => Math.max(...texts.map((t) => t.length));
  return {
    component: longest(["component", ...shown.map(({ component }) => component)]),
    status: longest(["status", ...shown.map(({ status }) => status)]),
    since:
      sinces === undefined
        ? 0
        : longest(["since", ...shown.map((health) => sinceText(health, sinces))]),
  };
}

function headings({ component, status, since }: Columns): string {
  const cells = ["COMPONENT".padEnd(component), "STATUS".padEnd(status)];
  return [...cells, ...(since === 0 ? [] : ["SINCE".padEnd(since)]), "WHAT"].join(GAP);
}

function rowLines(health: ComponentHealth, columns: Columns, style: TextStyle): readonly string[] {
  const { component, status, problems, message } = health;
  const cells = [
    component.padEnd(columns.component),
    paint(status.padEnd(columns.status), COLORS[status], style.hasColor),
    ...(columns.since === 0 ? [] : [sinceText(health, style.sinces).padEnd(columns.since)]),
  ];
  const left =
    columns.component + columns.status + columns.since + GAP.length * (columns.since === 0 ? 2 : 3);
  const width = Math.max(WIDTH_MIN, style.width - left);
  const sentences =
    problems.length === 0
      ? wrap(message, width)
      : problems.flatMap((problem) => [
          ...wrap(problem.message, width),
          ...wrap(`→ ${problem.nextStep}`, width, "  ").map((line) =>
            paint(line, "90", style.hasColor),
          ),
        ]);
  return sentences.map((sentence, index) =>
    (index === 0 ? [...cells, sentence].join(GAP) : " ".repeat(left) + sentence).trimEnd(),
  );
}

/** `12:03:05, was ok`; "" for what never changed. */
function sinceText({ component }: ComponentHealth, sinces: Sinces | undefined): string {
  const since = sinces?.get(component);
  return since?.before === undefined
    ? ""
    : `${new Date(since.sinceMs).toTimeString().slice(0, 8)}, was ${since.before}`;
}

function unconfiguredLines(
  others: readonly ComponentHealth[],
  { width, hasColor }: TextStyle,
): readonly string[] {
  if (others.length === 0) {
    return [];
  }
  const names = others.map(
    ({ component, nextStep = "" }) =>
      `${component} (${nextStep.replace(/ has it checked\.$/, "")})`,
  );
  const text = `Not configured, so not checked: ${names.join(", ")}`;
  return ["", ...wrap(text, width, "  ").map((line) => paint(line, "90", hasColor))];
}

function verdict({ status, components }: HealthReport, { hasColor }: TextStyle): string {
  const bad = components.filter(({ status: each }) => !["ok", "not_configured"].includes(each));
  const names = bad.map(({ component }) => component).join(", ");
  const word = paint(status, COLORS[status], hasColor);
  return bad.length === 0 ? `All is well: ${word}` : `The platform is ${word}: see ${names}`;
}

/** One line for a change, for logs and files. */
export function changeText({ component, from, to, atMs }: Change): string {
  const at = new Date(atMs).toISOString().replace(/\.\d+Z$/, "Z");
  const step = to.nextStep === undefined ? "" : ` → ${to.nextStep}`;
  return `${at} ${component} ${from} → ${to.status}: ${to.message}${step}`;
}

function wrap(text: string, width: number, indent = ""): readonly string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = indent + word;
    } else {
      line = line === "" ? word : `${line} ${word}`;
    }
  }
  return [...lines, line];
}

function paint(text: string, color: string, hasColor: boolean): string {
  return hasColor && text !== "" ? `\u001b[${color}m${text}\u001b[0m` : text;
}
