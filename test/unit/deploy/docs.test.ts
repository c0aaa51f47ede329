/** The runbooks say what is so: names, commands, numbers and links, held against code and manifests. */
import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { Glob } from "bun";
import { ALERTS } from "../../../grafana/source/alerts/all.ts";
import {
  commandConsumerConfig,
  commandStreamConfig,
  logStreamConfig,
} from "../../../src/bus/stream.ts";
import { commandSubject, consumerName, logSubject } from "../../../src/bus/subject.ts";
import type { CliContext } from "../../../src/cli/context.ts";
import { createProgram } from "../../../src/cli/program.ts";
import { envName } from "../../../src/config/read.ts";
import { natsOptions, ROLES } from "../../../src/config/tables.ts";
import type { ExecutionId } from "../../../src/core/ids.ts";
import { METRICS_BY_ROLE } from "../../../src/observability/metrics-table.ts";
import type { Manifest } from "../../support/manifests.ts";
import {
  buildManifests,
  containersOf,
  noKustomize,
  ROOT,
  workloadsOf,
} from "../../support/manifests.ts";
import { makeScratchDir } from "../../support/scratch.ts";
import { metricsIn, unknownLabels } from "../grafana/metric-names.ts";

const DOCS = join(ROOT, "deploy/docs");

interface Page {
  /** From `deploy/docs`. */
  readonly path: string;
  readonly text: string;
}

async function readAll(pattern: string, dir: string): Promise<readonly Page[]> {
  const paths = [...new Glob(pattern).scanSync({ cwd: dir })].toSorted();
  return await Promise.all(
    paths.map(async (path) => ({ path, text: await Bun.file(join(dir, path)).text() })),
  );
}

const PAGES = await readAll("**/*.{md,sh}", DOCS);
const SOURCES = (await readAll("**/*.{ts,sql}", join(ROOT, "src")))
  .map(({ text }) => text)
  .join("\n");
const DEPLOY = (await readAll("**/*.{yaml,env,sh,conf,vrl}", join(ROOT, "deploy")))
  .map(({ text }) => text)
  .join("\n");
const GRAFANA = (await readAll("**/*.ts", join(ROOT, "grafana/source")))
  .map(({ text }) => text)
  .join("\n");

/** What `pattern` finds, by page, so that a failure says where. */
function findAll(pattern: RegExp): readonly (readonly [string, readonly string[]])[] {
  return PAGES.flatMap(({ path, text }) =>
    [...text.matchAll(pattern)].map(([, ...groups]) => [path, groups] as const),
  );
}

describe("alerts", () => {
  const pages = readdirSync(join(DOCS, "alerts")).map((name) => basename(name, ".md"));

  test("have a page each, and each page an alert", () => {
    expect(pages.toSorted()).toEqual(ALERTS.map(({ name }) => name).toSorted());
  });

  test("have pages that say how grave it is, three checks, what to do, and when it is over", () => {
    for (const { name, severity, component } of ALERTS) {
      const text = PAGES.find(({ path }) => path === `alerts/${name}.md`)?.text ?? "";
      expect(text).toStartWith(`# ${name}\n\n${severity}, ${component}\n\n**Means.** `);
      expect([name, text.match(/^ {3}```sh$/gm)?.length]).toEqual([name, 3]);
      const parts = ["**Impact.** ", "## Check", "## Mend", "**Over when** ", "**Escalate:** "];
      const places = parts.map((part) => text.indexOf(part));
      expect([name, places]).toEqual([name, places.toSorted((a, b) => a - b)]);
      expect([name, places.includes(-1)]).toEqual([name, false]);
    }
  });

  test("are all in the index, with how grave they are", () => {
    const index = PAGES.find(({ path }) => path === "README.md")?.text ?? "";
    for (const { name, severity } of ALERTS) {
      expect(index).toContain(`| [${name}](alerts/${name}.md) | ${severity} |`);
    }
  });
});

test("links lead to files and headings that are there", () => {
  const links = findAll(/\]\(([^)\s]+)\)/g);
  expect(links.length).toBeGreaterThan(200);
  const broken = links.filter(
    ([path, [link = ""]]) => !/^https?:/.test(link) && !leads(path, link),
  );
  expect(broken).toEqual([]);
});

function leads(from: string, link: string): boolean {
  const [file = "", heading] = link.split("#");
  const path = file === "" ? join(DOCS, from) : join(DOCS, dirname(from), file);
  if (!existsSync(path) || heading === undefined) {
    return existsSync(path);
  }
  const page = PAGES.find((one) => one.path === relative(DOCS, path))?.text ?? "";
  return [...page.matchAll(/^#+ (.*)$/gm)].some(([, title = ""]) => slug(title) === heading);
}

/** As GitHub names headings. */
function slug(title: string): string {
  return title
    .toLowerCase()
    .replace(/[^\w\- ]/g, "")
    .replaceAll(" ", "-");
}

const SILENT: CliContext = {
  env: {},
  signal: new AbortController().signal,
  out: () => undefined,
  note: () => undefined,
  isTerminal: false,
};

/** Commands that have others below them and do something themselves. */
const ACTING_GROUPS = ["server", "worker", "result"];

test("commands of noetl are there, with these flags", () => {
  const program = createProgram(SILENT, () => undefined);
  const typed = findAll(/(?:^ *|`)noetl ([a-z][^`#|&;\n]*)/gm);
  expect(typed.length).toBeGreaterThan(100);
  const wrong = typed.filter(([, [text = ""]]) => {
    const [name = "", sub = ""] = text.trim().split(" ");
    const command = program.commands.find((each) => each.name() === name);
    const inner = command?.commands.find((each) => each.name() === sub) ?? command;
    const flags = inner?.options.map(({ long }) => long) ?? [];
    const given = text.match(/(?<!\S)--[a-z-]+/g) ?? [];
    const isGroup = (command?.commands.length ?? 0) > 0;
    return (
      inner === undefined ||
      (isGroup && inner === command && !ACTING_GROUPS.includes(name)) ||
      given.some((flag) => !flags.includes(flag))
    );
  });
  expect(wrong).toEqual([]);
});

test("targets of the Makefile are there", async () => {
  const makefile = await Bun.file(join(ROOT, "deploy/Makefile")).text();
  const targets = [...makefile.matchAll(/^([a-z-]+):/gm)].map(([, name]) => name);
  const typed = findAll(/make -C deploy (?:[A-Z]+=\S+ )*([a-z-]+)/g);
  expect(typed.length).toBeGreaterThan(5);
  expect(typed.filter(([, [name = ""]]) => !targets.includes(name))).toEqual([]);
});

const STREAMS = ["NOETL_COMMANDS", "NOETL_LOGS"];
/** Keys of Secrets that are no settings. */
const PASSWORDS = ["NATS_PASSWORD", "POSTGRES_PASSWORD"];

test("settings and codes are those of the program", () => {
  const settings = new Set([
    ...Object.values(ROLES).flatMap((table) =>
      Object.entries(table).map(([key, option]) => envName(key, option)),
    ),
    ...STREAMS,
    ...PASSWORDS,
  ]);
  const words = findAll(/\b([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)\b/g);
  expect(words.length).toBeGreaterThan(100);
  const unknown = words.filter(([, [word = ""]]) =>
    /^(NOETL|NATS|VAULT)_/.test(word)
      ? !settings.has(word)
      : !SOURCES.includes(word) && !DEPLOY.includes(word),
  );
  expect(unknown).toEqual([]);
});

/** What begins like a metric and is none: the consumers' first part, a renamed database, a column of nvidia-smi. */
const NO_METRICS = ["noetl_worker", "noetl_broken", "process_name"];
/** Metrics of others that nothing else here uses. */
const OTHERS = ["vl_streams_created_total"];

test("metrics are defined, or those of others that dashboards and alerts use", () => {
  const defined = Object.values(METRICS_BY_ROLE).flatMap((table) =>
    Object.values(table).map(({ name }) => name),
  );
  const ours = findAll(/\b((?:noetl|process|nodejs)_[a-z0-9_]+)\b(?!-)/g);
  expect(ours.length).toBeGreaterThan(80);
  const known = new Set([...defined, ...NO_METRICS]);
  expect(
    ours.filter(([, [name = ""]]) => !known.has(name) && !known.has(name.replace(/_bucket$/, ""))),
  ).toEqual([]);
  const others = findAll(/\b((?:vm|vl|vmalert|vector|kubelet)_[a-z_]+(?:total|bytes|seconds))\b/g);
  expect(others.length).toBeGreaterThan(10);
  expect(
    others.filter(([, [name = ""]]) => !GRAFANA.includes(name) && !OTHERS.includes(name)),
  ).toEqual([]);
});

const QUERIES = [...findAll(/\bvm '([^']+)'/g), ...findAll(/\bvm (noetl_\w+)/g)];

test("queries name labels and values that the metrics have", () => {
  expect(QUERIES.length).toBeGreaterThan(80);
  expect(
    QUERIES.flatMap(([path, [query = ""]]) => unknownLabels(query).map((what) => [path, what])),
  ).toEqual([]);
  expect(
    QUERIES.filter(([, [query = ""]]) => query.includes("noetl_") && metricsIn(query).length === 0),
  ).toEqual([]);
});

test.skipIf(Bun.which("vmalert") === null)("queries are MetricsQL", async () => {
  const rules = QUERIES.map(([, [expr = ""]], index) => ({ record: `query:${index}`, expr }));
  const path = join(makeScratchDir("runbooks"), "rules.yaml");
  await Bun.write(path, JSON.stringify({ groups: [{ name: "runbooks", rules }] }));
  const checked = Bun.spawnSync(["vmalert", "-dryRun", `-rule=${path}`]);
  expect([checked.exitCode, checked.stderr.toString()]).toEqual([
    0,
    expect.not.stringContaining("error"),
  ]);
});

test("queries of logs name fields that lines have", async () => {
  const table = await Bun.file(join(ROOT, "src/observability/README.md")).text();
  const fields = [...table.matchAll(/^\| `(\w+)` \| (?:text|number|time) \|/gm)].map(
    ([, name = ""]) => name,
  );
  const shipped = ["namespace", "pod", "container", "app", "pool", "_time", "_msg"];
  const known = new Set([...fields, ...shipped]);
  const queries = [...findAll(/\bvl '([^']+)'/g), ...findAll(/\| `(_time:[^`]+)`/g)];
  expect(queries.length).toBeGreaterThan(25);
  const named = queries.flatMap(([path, [query = ""]]) => [
    ...[...query.matchAll(/(?<![\w:-])([a-z_]+):(?=[=a-z"])/g)].map(
      ([, name = ""]) => [path, name] as const,
    ),
    ...[...query.matchAll(/stats by \(([^)]*)\)/g)].flatMap(([, list = ""]) =>
      list.split(/,\s*/).map((name) => [path, name] as const),
    ),
  ]);
  expect(named.length).toBeGreaterThan(30);
  expect(named.filter(([, name]) => !known.has(name))).toEqual([]);
});

describe("nats.md", () => {
  const text = PAGES.find(({ path }) => path === "nats.md")?.text ?? "";
  const prefix = {
    stream: natsOptions.natsStream.default,
    subject: natsOptions.natsSubject.default,
  };
  const minutes = (nanos: number | undefined): number => (nanos ?? 0) / 60e9;
  const id = "EXECUTION" as ExecutionId;

  test("says how the streams are made", () => {
    const commands = commandStreamConfig(prefix.stream ?? "", prefix.subject ?? "");
    expect(text).toContain(`| stream | \`${commands.name}\` (\`NATS_STREAM\`) | \`NOETL_LOGS\` |`);
    expect(text).toContain(`\`${commandSubject(prefix.subject ?? "", "POOL", id)}\``);
    expect(text).toContain(`\`${logSubject("noetl.logs", id, "STEP")}\``);
    expect(text).toContain(`| kept for | ${minutes(commands.max_age)} minutes |`);
    expect(text).toContain(`known for ${minutes(commands.duplicate_window)} minutes`);
    const logs = logStreamConfig("NOETL_LOGS", "noetl.logs");
    expect(text).toContain(
      `${minutes(logs.max_age) / 60} hours (\`NOETL_RETENTION_LOGS\`), at most ${(logs.max_bytes ?? 0) / 1024 ** 3} GiB`,
    );
  });

  test("says how a pool's consumer is made", () => {
    const name = consumerName(natsOptions.natsConsumer.default ?? "", "POOL");
    const made = commandConsumerConfig({
      durableName: name,
      filter: `${prefix.subject}.POOL.>`,
      maxAckPending: Number(natsOptions.natsMaxAckPending.default),
    });
    expect(text).toContain(`durable consumer \`${name}\` (\`NATS_CONSUMER\`)`);
    expect(text).toContain(`| filter | \`${made.filter_subject}\` |`);
    expect(text).toContain(`${made.ack_policy}, within ${(made.ack_wait ?? 0) / 1e9} s`);
    expect(text).toContain(
      `${made.max_ack_pending?.toLocaleString("en")} (\`NATS_MAX_ACK_PENDING\`)`,
    );
    expect(text).toContain(`| open pulls at a time | ${made.max_waiting?.toLocaleString("en")} |`);
  });
});

describe.skipIf(noKustomize !== undefined)("the cluster that they speak of", () => {
  const manifests: readonly Manifest[] =
    noKustomize === undefined ? buildManifests("overlays/production") : [];
  const namesOf = (kind: string): readonly string[] =>
    manifests.filter((one) => one.kind === kind).map(({ metadata }) => metadata.name);

  test("has these workloads and services", () => {
    const kinds: Readonly<Record<string, string>> = {
      deploy: "Deployment",
      deployment: "Deployment",
      statefulset: "StatefulSet",
      daemonset: "DaemonSet",
      svc: "Service",
    };
    const named = findAll(
      /\b(deploy|deployment|statefulset|daemonset|svc)\/(?!docs|compose)([a-z0-9-]+)/g,
    );
    expect(named.length).toBeGreaterThan(30);
    const unknown = named.filter(
      ([, [kind = "", name = ""]]) =>
        name !== "cert-manager" && !namesOf(kinds[kind] ?? "").includes(name),
    );
    expect(unknown).toEqual([]);
  });

  test("has these namespaces, containers, pods and claims", () => {
    const namespaces = [...namesOf("Namespace"), "cert-manager"];
    expect(
      findAll(/kubectl -n ([a-z-]+)/g).filter(([, [name = ""]]) => !namespaces.includes(name)),
    ).toEqual([]);
    const workloads = workloadsOf(manifests);
    const containers = workloads.flatMap((one) => containersOf(one).map(({ name }) => name));
    const chosen = findAll(/(?:exec|logs)\b[^\n`]* -c ([a-z]+)\b/g);
    expect(chosen.length).toBeGreaterThan(5);
    expect(chosen.filter(([, [name = ""]]) => !containers.includes(name))).toEqual([]);
    const sets = namesOf("StatefulSet");
    const pods = findAll(
      /\b(?:data-)?((?:postgres|nats|victoriametrics|victorialogs|grafana))-\d\b/g,
    );
    expect(pods.filter(([, [name = ""]]) => !sets.includes(name))).toEqual([]);
    const claims = findAll(/\b(data)-(postgres|nats)-\d\b/g);
    const templates = workloads.flatMap(({ metadata, spec }) =>
      (spec.volumeClaimTemplates ?? []).map(
        (one: Manifest) => `${one.metadata.name}-${metadata.name}`,
      ),
    );
    expect(claims.filter(([, parts]) => !templates.includes(parts.join("-")))).toEqual([]);
  });

  test("has these ports", () => {
    const ports = new Set([
      ...manifests
        .filter(({ kind }) => kind === "Service")
        .flatMap(({ spec }) =>
          spec.ports.flatMap((one: { port: number; nodePort?: number }) => [
            one.port,
            one.nodePort,
          ]),
        ),
      ...workloadsOf(manifests).flatMap((one) =>
        containersOf(one).flatMap(({ ports: list = [] }) =>
          list.map(({ containerPort }) => containerPort),
        ),
      ),
    ]);
    const index = PAGES.find(({ path }) => path === "README.md")?.text ?? "";
    const [, table = ""] = index.split("## Where things are");
    const named = [...(table.split("## ")[0] ?? "").matchAll(/\b(\d{4,5})\b/g)].map(([, port]) =>
      Number(port),
    );
    expect(named.length).toBeGreaterThan(12);
    expect(named.filter((port) => !ports.has(port))).toEqual([]);
    // The drill's own are 554xx.
    const asked = findAll(/(?:127\.0\.0\.1|localhost|NODE):(\d{4,5})\b/g).filter(
      ([, [port = ""]]) => !port.startsWith("554"),
    );
    expect(asked.filter(([, [port = ""]]) => !ports.has(Number(port)))).toEqual([]);
  });
});

test("the functions for the terminal are a script that bash understands", () => {
  const checked = Bun.spawnSync(["bash", "-n", join(DOCS, "ask.sh")]);
  expect([checked.exitCode, checked.stderr.toString()]).toEqual([0, ""]);
  const script = PAGES.find(({ path }) => path === "ask.sh")?.text ?? "";
  const defined = [...script.matchAll(/^(\w+)\(\) \{/gm)].map(([, name]) => name);
  expect(defined).toEqual(["in_pod", "noetl", "vm", "vl", "pg", "js"]);
});
