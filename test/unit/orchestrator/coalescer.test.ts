import { expect, test } from "bun:test";
import { createCoalescer } from "../../../src/orchestrator/coalescer.ts";

interface Call {
  readonly questions: readonly number[];
  readonly answer: () => void;
  readonly fail: (error: Error) => void;
}

function recording() {
  const calls: Call[] = [];
  const ask = (questions: readonly number[]): Promise<readonly number[]> => {
    const { promise, resolve, reject } = Promise.withResolvers<readonly number[]>();
    calls.push({ questions, answer: () => resolve(questions.map((n) => n * 10)), fail: reject });
    return promise;
  };
  return { calls, ask };
}

const nextTurn = (): Promise<void> => new Promise((done) => setImmediate(done));

test("questions asked while an answer is under way go together", async () => {
  const { calls, ask } = recording();
  const question = createCoalescer(ask, { max: 3, concurrency: 1 });
  const first = question(1);
  await nextTurn();
  const rest = [2, 3, 4, 5].map(question);
  calls[0]?.answer();
  expect(await first).toBe(10);
  await nextTurn();
  calls[1]?.answer();
  expect(await Promise.all(rest.slice(0, 3))).toEqual([20, 30, 40]);
  await nextTurn();
  calls[2]?.answer();
  expect(await rest[3]).toBe(50);
  expect(calls.map(({ questions }) => questions)).toEqual([[1], [2, 3, 4], [5]]);
});

test("a failed call fails its own questions only", async () => {
  const { calls, ask } = recording();
  const question = createCoalescer(ask, { max: 1, concurrency: 2 });
  const answers = [question(1), question(2)];
  await nextTurn();
  calls[0]?.fail(new Error("no"));
  calls[1]?.answer();
  expect(await Promise.allSettled(answers)).toMatchObject([
    { status: "rejected" },
    { status: "fulfilled", value: 20 },
  ]);
});
