/** Finds what can run containers here. */
import type { Logger } from "../observability/log.ts";
import type { CliEnvironment } from "./cli-process.ts";
import { CliRuntime } from "./cli-runtime.ts";
import { DIALECTS } from "./dialect.ts";
import type { DetectedRuntime } from "./host.ts";
import type { ClusterOptions } from "./kubernetes/access.ts";
import { hasCluster, openCluster } from "./kubernetes/access.ts";
import { KubernetesRuntime } from "./kubernetes/runtime.ts";
import type { ContainerRuntime, RuntimeName } from "./runtime.ts";

export interface DetectOptions {
  /** Of the programs: PATH, HOME, DOCKER_HOST and the like. */
  readonly env: CliEnvironment;
  /** For the tasks' files; made when needed. */
  readonly dir: string;
  /** Only these, in this order; empty: all that are there, in the order of {@link FACTORIES}. */
  readonly names: readonly RuntimeName[];
  readonly cluster: ClusterOptions;
  readonly log: Logger;
}

/** One kind of runtime. */
interface RuntimeFactory {
  readonly name: RuntimeName;
  /** False: nothing here points to it, so it is not worth naming. */
  isThere(options: DetectOptions): boolean;
  create(options: DetectOptions): ContainerRuntime;
}

/** The preferred ones first. */
const FACTORIES: readonly RuntimeFactory[] = [
  ...DIALECTS.map((dialect) => ({
    name: dialect.name,
    isThere: ({ env }: DetectOptions) => findProgram(dialect.name, env) !== undefined,
    create: ({ env, dir }: DetectOptions) => {
      const program = findProgram(dialect.name, env) ?? dialect.name;
      return new CliRuntime({ dialect, program, env, dir });
    },
  })),
  {
    name: "kubernetes",
    isThere: ({ cluster }) => hasCluster(cluster),
    create: ({ cluster, log }) => new KubernetesRuntime(() => openCluster(cluster), log),
  },
];

/** Asks all at the same time, which takes seconds at most; those that can be used come first. */
export async function detectRuntimes(options: DetectOptions): Promise<readonly DetectedRuntime[]> {
  const detected = await Promise.all(
    chosenFactories(options).map(async (factory) => {
      const runtime = factory.create(options);
      return { runtime, facts: await runtime.probe() };
    }),
  );
  return [
    ...detected.filter(({ facts }) => facts.isUsable),
    ...detected.filter(({ facts }) => !facts.isUsable),
  ];
}

/** One that was asked for is named also where it is missing. */
function chosenFactories(options: DetectOptions): readonly RuntimeFactory[] {
  return options.names.length === 0
    ? FACTORIES.filter((factory) => factory.isThere(options))
    : options.names.flatMap((name) => FACTORIES.filter((factory) => factory.name === name));
}

function findProgram(name: string, env: CliEnvironment): string | undefined {
  return Bun.which(name, { PATH: env["PATH"] ?? "" }) ?? undefined;
}
