/** The playbooks of the workloads, as YAML (which JSON is). */

export type Language = "javascript" | "python";

const FIB: Readonly<Record<Language, (n: number) => string>> = {
  javascript: (n) =>
    `function fib(n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }\nreturn fib(${n});`,
  python: (n) =>
    `def fib(n):\n  return n if n < 2 else fib(n - 1) + fib(n - 2)\nresult = fib(${n})`,
};

/** Body of the task as a function of its own, for bare execution beside the platform. */
export function fibCode(language: Language, n: number): string {
  return FIB[language](n);
}

/** Catalog path `bench/chain_<language>_<n>`: `length` steps, one after another. */
export function chain(language: Language, n: number, length: number): string {
  const steps = Array.from({ length }, (_, index) => ({
    step: `s${index}`,
    tool: { kind: language, code: fibCode(language, n) },
    ...(index < length - 1 ? { next: { arcs: [{ step: `s${index + 1}` }] } } : {}),
  }));
  return playbook(`chain_${language}_${n}`, steps);
}

/** Catalog path `bench/loop_<language>`: one parallel loop. */
export function parallelLoop(language: Language, items: number, maxInFlight: number): string {
  return playbook(`loop_${language}`, [
    {
      step: "items",
      loop: {
        in: `{{ range(${items}) | list }}`,
        iterator: "item",
        spec: { mode: "parallel", max_in_flight: maxInFlight },
      },
      tool: { kind: language, code: fibCode(language, 10) },
    },
  ]);
}

/** Catalog path `bench/large_<kind>`: a loop of `count` items, and a step that checks what it gave. */
export function largeLoop(kind: "noop" | "python"): string {
  const input = { number: "{{ item }}" };
  const tool =
    kind === "noop"
      ? { kind, result: { square: "{{ item * item }}" } }
      : { kind, input, code: "result = {'square': number * number}" };
  const code = [
    "items = gathered['results']",
    "exact = all(item['square'] == index * index for index, item in enumerate(items))",
    "result = {'length': len(items), 'is_exact': exact}",
  ].join("\n");
  const loop = {
    in: "{{ range(count) | list }}",
    iterator: "item",
    spec: { mode: "parallel", max_in_flight: 64 },
  };
  return playbook(`large_${kind}`, [
    { step: "items", loop, tool, next: { arcs: [{ step: "check" }] } },
    { step: "check", tool: { kind: "python", input: { gathered: "{{ items }}" }, code } },
  ]);
}

/** Catalog path `bench/single`: one step. */
export function single(): string {
  return playbook("single", [
    { step: "only", tool: { kind: "javascript", code: fibCode("javascript", 10) } },
  ]);
}

/** Catalog path `bench/stamp`: one step that says when its first instruction ran, by two clocks. */
export function stamp(): string {
  const code =
    "const fine = performance.timeOrigin + performance.now(); return { fine, wall: Date.now() };";
  return playbook("stamp", [{ step: "only", tool: { kind: "javascript", code } }]);
}

function playbook(name: string, workflow: readonly unknown[]): string {
  const metadata = { name: `bench_${name}`, path: `bench/${name}` };
  return JSON.stringify({ apiVersion: "noetl.io/v2", kind: "Playbook", metadata, workflow });
}
