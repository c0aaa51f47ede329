/** What playbooks of the load are made of. */
export interface Playbook {
  readonly path: string;
  readonly workload?: object;
  readonly executor?: object;
  readonly keychain?: readonly object[];
  readonly workflow: readonly object[];
}

/**
 * Tries again on any error: a killed runner is a failed task, and a failed task is the author's to
 * retry. For longer than anything here is down or frozen.
 */
export const RETRY = {
  policy: {
    rules: [
      {
        when: "{{ output.status == 'error' }}",
        // biome-ignore lint/suspicious/noThenProperty: a word of the playbook language.
        then: { do: "retry", attempts: 60, backoff: "none", delay: 0.5 },
      },
      // biome-ignore lint/suspicious/noThenProperty: a word of the playbook language.
      { else: { then: { do: "continue" } } },
    ],
  },
};

/** Credential of the platform's own database, where playbooks have some tables. */
export const SQL_CREDENTIAL = "chaos_sql";

export function document({ path, ...parts }: Playbook): string {
  const metadata = { name: path.replaceAll("/", "_"), path };
  return JSON.stringify({ apiVersion: "noetl.io/v2", kind: "Playbook", metadata, ...parts });
}

export function arcs(targets: readonly string[], mode = "exclusive"): object {
  return { next: { spec: { mode }, arcs: targets.map((step) => ({ step })) } };
}

/** Parallel, over a list or a template that gives one. */
export function eachItem(list: unknown, inFlight: number): object {
  return {
    loop: {
      in: list,
      iterator: "item",
      spec: { mode: "parallel", max_in_flight: inFlight },
    },
  };
}

/** The items' results, in order. */
export function loopResults(value: unknown): readonly unknown[] {
  const list = Array.isArray(value) ? value : Object(value).results;
  return Array.isArray(list) ? list : [];
}

/** Says so if a value is not what it should be. */
export function same(what: string, actual: unknown, expected: unknown): readonly string[] {
  return Bun.deepEquals(actual, expected)
    ? []
    : [`${what} is ${JSON.stringify(actual)} instead of ${JSON.stringify(expected)}`];
}
