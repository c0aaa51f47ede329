/** compose.yaml and the image: the same programs, settings and ports as in the cluster. */
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { checkServer, checkWorker } from "../../../src/config/decide.ts";
import type { OptionTable } from "../../../src/config/option.ts";
import { envName, readOptions } from "../../../src/config/read.ts";
import {
  databaseOptions,
  healthOptions,
  migrateOptions,
  serverOptions,
  workerOptions,
} from "../../../src/config/tables.ts";
import { ROOT, readYaml } from "../../support/manifests.ts";

interface Service {
  readonly image: string;
  readonly build?: {
    readonly context: string;
    readonly dockerfile: string;
    readonly target: string;
  };
  readonly command?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly volumes?: readonly string[];
  readonly ports?: readonly string[];
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
  readonly profiles?: readonly string[];
  readonly tmpfs?: readonly string[];
  // biome-ignore lint/suspicious/noExplicitAny: a service, whose other fields tests name
  readonly [field: string]: any;
}

const DIR = join(ROOT, "deploy");
const [COMPOSE] = readYaml(readFileSync(join(DIR, "compose.yaml"), "utf8"));
const SERVICES: Readonly<Record<string, Service>> = COMPOSE?.["services"];
const DOCKERFILE = readFileSync(join(DIR, "Dockerfile"), "utf8");

/** With the defaults of `${NAME:-default}`. */
function environmentOf(service: Service): Record<string, string> {
  return Object.fromEntries(
    Object.entries(service.environment ?? {}).map(([name, value]) => [
      name,
      String(value).replaceAll(/\$\{\w+:-([^}]*)\}/g, "$1"),
    ]),
  );
}

function serviceOf(name: string): Service {
  const found = SERVICES[name];
  if (found === undefined) {
    throw new Error(`compose.yaml has no service ${name}`);
  }
  return found;
}

function unknownNames(env: Readonly<Record<string, string>>, table: OptionTable) {
  const known = new Set(Object.entries(table).map(([key, option]) => envName(key, option)));
  return Object.keys(env).filter((name) => !known.has(name));
}

describe("compose.yaml", () => {
  test("starts a server with settings that it knows, and accepts", () => {
    const env = environmentOf(serviceOf("noetl-server"));
    expect(unknownNames(env, serverOptions)).toEqual([]);
    const values = readOptions(serverOptions, { flags: {}, env }, checkServer);
    expect(serviceOf("noetl-server").ports).toEqual([`127.0.0.1:8082:${values.port}`]);
    expect(values.skipMigration).toBe(true);
    const migration = environmentOf(serviceOf("noetl-migrate"));
    const table = { ...databaseOptions, ...migrateOptions };
    expect(unknownNames(migration, table)).toEqual([]);
    expect(readOptions(table, { flags: {}, env: migration }).postgresHost).toBe("postgres");
  });

  test.each(["cpu-01", "cpu-02", "gpu-01"])("starts a worker of %s likewise", (pool) => {
    const service = serviceOf(`noetl-worker-${pool}`);
    const env = environmentOf(service);
    expect(unknownNames(env, workerOptions)).toEqual([]);
    const values = readOptions(workerOptions, { flags: {}, env }, checkWorker);
    expect(values.pool).toBe(pool);
    const graceMs = Number.parseInt(service["stop_grace_period"], 10) * 1000;
    expect(graceMs).toBeGreaterThan(values.graceTime);
    const server = environmentOf(serviceOf("noetl-server"));
    for (const name of ["NOETL_WORKER_TOKEN", "NATS_PASSWORD", "NATS_STREAM", "NATS_CONSUMER"]) {
      expect([name, env[name]]).toEqual([name, server[name]]);
    }
    expect(values.server).toEqual([`noetl-server:${server["NOETL_GRPC_PORT"]}`]);
  });

  test("lets the health check look at every component", () => {
    const service = serviceOf("noetl-health");
    const env = environmentOf(service);
    expect(unknownNames(env, healthOptions)).toEqual([]);
    const [, , listen = ""] = service.command ?? [];
    expect(readOptions(healthOptions, { flags: { listen }, env }).listen).toBe(":9091");
    const named = Object.values(env).flatMap(
      (value) => /^https?:\/\/([\w-]+):/.exec(value)?.[1] ?? [],
    );
    expect(named.filter((name) => SERVICES[name] === undefined)).toEqual([]);
    expect(named).toEqual(expect.arrayContaining(["victorialogs", "vmalert", "vector", "grafana"]));
  });

  test("runs the images that the cluster runs", () => {
    const files = [...new Bun.Glob("base/**/*.yaml").scanSync({ cwd: DIR })];
    const text = files.map((path) => readFileSync(join(DIR, path), "utf8")).join("\n");
    const images = new Set([...text.matchAll(/image: (\S+)/g)].map(([, image]) => image));
    const foreign = Object.values(SERVICES).filter(({ build }) => build === undefined);
    expect(foreign.filter(({ image }) => !images.has(image)).map(({ image }) => image)).toEqual([]);
    const missing = [...images].filter(
      (image) => image?.includes(":") && !foreign.some((service) => service.image === image),
    );
    expect(missing).toEqual([]);
  });

  test("mounts files that are there, and volumes that it declares", () => {
    const declared = Object.keys(COMPOSE?.["volumes"] ?? {});
    for (const [name, { volumes = [] }] of Object.entries(SERVICES)) {
      for (const volume of volumes) {
        const [source = ""] = volume.split(":");
        const isThere = source.startsWith(".")
          ? existsSync(join(DIR, source))
          : declared.includes(source) || source === "/var/run/docker.sock";
        expect([name, source, isThere]).toEqual([name, source, true]);
      }
    }
  });

  test("waits for services that tell when they are ready", () => {
    for (const [name, { depends_on: needs = {} }] of Object.entries(SERVICES)) {
      for (const [other, { condition }] of Object.entries(needs)) {
        const hasCheck = serviceOf(other)["healthcheck"] !== undefined;
        expect([name, other, condition === "service_healthy"]).toEqual([name, other, hasCheck]);
      }
    }
  });

  test("listens on this machine only", () => {
    const ports = Object.values(SERVICES).flatMap((service) => service.ports ?? []);
    expect(ports.filter((port) => !port.startsWith("127.0.0.1:"))).toEqual([]);
    expect(ports.length).toBeGreaterThan(3);
  });

  test("gives lasting services no more rights than they need", () => {
    for (const [name, service] of Object.entries(SERVICES)) {
      expect([name, service["cap_drop"]]).toEqual([name, ["ALL"]]);
      if (service["restart"] === "unless-stopped") {
        expect([name, service["read_only"]]).toEqual([name, true]);
        expect([name, service["security_opt"]]).toEqual([name, ["no-new-privileges:true"]]);
      }
    }
  });

  test("is scraped completely, under the labels of the cluster", () => {
    const [scrape] = readYaml(
      readFileSync(join(DIR, "victoriametrics/scrape-compose.yaml"), "utf8"),
    );
    const jobs: readonly { job_name: string; static_configs?: { targets: string[] }[] }[] =
      scrape?.["scrape_configs"] ?? [];
    const hosts = jobs.flatMap(({ static_configs: all = [] }) =>
      all.flatMap(({ targets }) => targets.map((target) => target.split(":")[0] ?? "")),
    );
    expect(hosts.filter((host) => SERVICES[host] === undefined)).toEqual([]);
    const unscraped = Object.keys(SERVICES).filter((name) => !hosts.includes(name));
    expect(unscraped.toSorted()).toEqual([
      "nats",
      "nats-volume",
      "noetl-migrate",
      "noetl-worker-gpu-01",
      "postgres",
    ]);
  });
});

describe("the image", () => {
  test("is built from what its context lets through", () => {
    const ignore = readFileSync(join(DIR, "Dockerfile.dockerignore"), "utf8").split("\n");
    const kept = ignore.filter((line) => line.startsWith("!")).map((line) => line.slice(1));
    expect(kept.filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
    const copied = [...DOCKERFILE.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(
      ([, names = ""]) => names.split(" ").filter((name) => name !== "."),
    );
    expect(copied.filter((name) => !kept.includes(name))).toEqual([]);
    expect(ignore).toContain("*");
  });

  test("runs as the user that the manifests give it", () => {
    const users = [...DOCKERFILE.matchAll(/^USER (\d+):(\d+)$/gm)].map(([, user]) => user);
    const server = readFileSync(join(DIR, "base/noetl/server.yaml"), "utf8");
    expect(users).toEqual(["10001", "10001"]);
    expect(server).toContain("runAsUser: 10001");
  });

  test("has the stages that are built, the one for all tasks last", () => {
    const stages = [...DOCKERFILE.matchAll(/^FROM \S+ AS (\w+)$/gm)].map(([, name]) => name);
    expect(stages).toEqual(["build", "gpu", "noetl"]);
    const targets = Object.values(SERVICES).flatMap(({ build }) => build?.target ?? []);
    expect(targets.filter((target) => !stages.includes(target))).toEqual([]);
  });

  test("is told to listen on the ports that it exposes", () => {
    const exposed = [...DOCKERFILE.matchAll(/^EXPOSE (.+)$/gm)].at(-1)?.[1]?.split(" ");
    const { port, grpcPort } = serverOptions;
    expect(exposed).toEqual([port.default ?? "", grpcPort.default ?? "", "9090"]);
  });
});

describe.skipIf(Bun.which("make") === null)("the Makefile", () => {
  const make = (...args: readonly string[]) =>
    Bun.spawnSync(["make", "--no-print-directory", "-C", DIR, ...args]);

  test("says what it can do when asked for nothing", () => {
    const text = make().stdout.toString();
    const makefile = readFileSync(join(DIR, "Makefile"), "utf8");
    const targets = [...makefile.matchAll(/^\.PHONY: (\S+)$/gm)].map(([, name = ""]) => name);
    expect(targets).toEqual(
      expect.arrayContaining([
        "deploy",
        "undeploy",
        "unified-health-check",
        "logs",
        "port-forward",
      ]),
    );
    for (const target of targets) {
      expect(text).toMatch(new RegExp(`^  ${target} +\\S`, "m"));
      expect([target, make("--dry-run", target).stderr.toString()]).toEqual([target, ""]);
    }
  });

  test("names only workloads that the manifests have", () => {
    const makefile = readFileSync(join(DIR, "Makefile"), "utf8");
    const files = [...new Bun.Glob("base/**/*.yaml").scanSync({ cwd: DIR })];
    const names = new Set(
      files.flatMap((path) =>
        readYaml(readFileSync(join(DIR, path), "utf8")).map((one) => one.metadata?.name),
      ),
    );
    const used = [...makefile.matchAll(/(?:deploy|svc)\/([a-z]+[a-z-]*)(?= )/g)].map(
      ([, name]) => name,
    );
    expect(used.length).toBeGreaterThan(4);
    expect(used.filter((name) => !names.has(name ?? ""))).toEqual([]);
  });
});
