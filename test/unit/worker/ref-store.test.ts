import { expect, test } from "bun:test";
import { AppError } from "../../../src/core/errors.ts";
import type { Json } from "../../../src/core/json.ts";
import { RefNeededError } from "../../../src/template/scope.ts";
import { CommandRefs, RefStore } from "../../../src/worker/ref-store.ts";
import { ResultShelf } from "../../support/results.ts";

/** Gives each reference a value of 100 characters and notes what was asked for. */
function createStore(maxBytes: number) {
  const asked: string[] = [];
  const store = new RefStore(
    {
      readResult: (key, write) => {
        const ref = "address" in key ? key.address : key.name;
        asked.push(ref);
        if (ref === "gone") {
          const gone = new AppError("not_found", "RESULT_NOT_FOUND", "no such result");
          return Promise.reject(gone);
        }
        const info = new ResultShelf().add("1", ref, JSON.stringify(ref.padEnd(98, ".")));
        write(new TextEncoder().encode(JSON.stringify(ref.padEnd(98, "."))));
        return Promise.resolve(info);
      },
    },
    maxBytes,
  );
  return { store, asked };
}

const signal = new AbortController().signal;
const reference = (name: string) => ({ $ref: `noetl://${name}`, size: 100, type: "string" });

test("what was loaded is kept while there is room, the oldest leaves first", async () => {
  const { store, asked } = createStore(250);
  await store.load("a", signal);
  await store.load("b", signal);
  await store.load("a", signal);
  await store.load("c", signal);
  await store.load("a", signal);
  await store.load("b", signal);
  expect(asked).toEqual(["a", "b", "c", "b"]);
});

test("a value larger than the room is loaded and not kept", async () => {
  const { store, asked } = createStore(50);
  await store.load("a", signal);
  await store.load("a", signal);
  expect(asked).toEqual(["a", "a"]);
});

test("a result that is gone is an error", async () => {
  const { store } = createStore(250);
  expect(await store.load("gone", signal).catch((error: unknown) => error)).toMatchObject({
    kind: "not_found",
  });
});

test("during() repeats until everything is loaded", async () => {
  const { store } = createStore(250);
  const refs = new CommandRefs(store, signal);
  const value = await refs.during(() => {
    for (const name of ["a", "b"]) {
      if (!refs.resolved.has(name)) {
        throw new RefNeededError(name);
      }
    }
    return refs.resolved.size;
  });
  expect(value).toBe(2);
});

test("expand() puts values in the place of references at any depth", async () => {
  const { store } = createStore(250);
  const refs = new CommandRefs(store, signal);
  const value: Json = { list: [1, reference("a")], deep: { b: reference("b") }, plain: null };
  const expanded = await refs.expand(value, (ref) => `value of ${ref}`);
  expect(expanded).toEqual({
    list: [1, "value of noetl://a"],
    deep: { b: "value of noetl://b" },
    plain: null,
  });
});
