/**
 * Results that are too large to be part of the log: made, read as a whole and by field, collected by
 * loops, and exact to the last byte wherever they are read.
 */
import { arcs, eachItem, RETRY, same } from "../playbook.ts";
import type { Outcome, Problems, Turn, Workload } from "../workload.ts";

/** Lengths of texts in blocks of 64 characters: 77 KB, 1 MB, 4 MB. */
const SIZES = [1200, 16_000, 64_000];
const PARTS = 5;
const PART_BLOCKS = 1800;

const MAKE = `import hashlib
def text(name, blocks):
    return "".join(hashlib.sha256(f"{name}-{n}".encode()).hexdigest() for n in range(blocks))
`;
const DIGEST = "import hashlib\nresult = hashlib.sha256(text.encode()).hexdigest()";

export function large(): Workload {
  return {
    name: "large",
    weight: 2,
    playbooks: [{ path: "chaos/large", workload: { seed: "", blocks: 0 }, workflow: steps() }],
    ends: ["COMPLETED"],
    turn: makeOne,
    verify,
  };
}

function steps(): readonly object[] {
  const python = (code: string, input: object): object => ({
    kind: "python",
    input,
    code,
    spec: RETRY,
  });
  const seed = "{{ workload.seed }}";
  return [
    {
      step: "make",
      tool: python(`${MAKE}result = {"text": text(seed, blocks), "blocks": blocks}`, {
        seed,
        blocks: "{{ workload.blocks }}",
      }),
      ...arcs(["digest", "parts"], "inclusive"),
    },
    { step: "digest", tool: python(DIGEST, { text: "{{ make.text }}" }), ...arcs(["join"]) },
    {
      step: "parts",
      ...eachItem(`{{ range(${PARTS}) | list }}`, 3),
      tool: python(`${MAKE}result = text(f"{seed}-{item}-{blocks}", ${PART_BLOCKS})`, {
        seed,
        item: "{{ item }}",
        blocks: "{{ make.blocks }}",
      }),
      ...arcs(["join"]),
    },
    {
      step: "join",
      tool: python(`text = "".join(parts)\n${DIGEST}`, { parts: "{{ parts.results }}" }),
    },
  ];
}

async function makeOne({ world, name, random, start }: Turn): Promise<void> {
  const payload = { seed: name, blocks: random.pick(SIZES) };
  await world.client.ended(await start({ payload }));
}

async function verify({ world, accepted, results }: Outcome): Promise<Problems> {
  const { seed, blocks } = accepted.payload;
  const text = makeText(String(seed), Number(blocks));
  const parts = Array.from({ length: PARTS }, (_, part) =>
    makeText(`${seed}-${part}-${blocks}`, PART_BLOCKS),
  );
  const ref = String(Object(results["make"])._ref);
  const stored = await world.client.call(
    "GET",
    `/api/result/resolve?ref=${encodeURIComponent(ref)}`,
  );
  return [
    ...same("digest", results["digest"], digestOf(text)),
    ...same("join", results["join"], digestOf(parts.join(""))),
    ...same("the stored text's digest", digestOf(String(Object(stored).text)), digestOf(text)),
  ];
}

function makeText(name: string, blocks: number): string {
  return Array.from({ length: blocks }, (_, n) => digestOf(`${name}-${n}`)).join("");
}

function digestOf(text: string): string {
  return new Bun.CryptoHasher("sha256").update(text).digest("hex");
}
