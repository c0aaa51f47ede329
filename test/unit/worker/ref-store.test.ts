import { expect, test } from "bun:test";
import { AppError } from "../../../src/core/errors.ts";
import type { ExecutionId } from "../../../src/core/ids.ts";
import type { Json } from "../../../src/core/json.ts";
import { renderValue } from "../../../src/template/render.ts";
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
        const reader = "address" in key ? key.reader : undefined;
        asked.push(ref);
        if (ref.startsWith(OTHERS) && reader === READER) {
          return Promise.reject(new AppError("forbidden", "RESULT_FOREIGN", "not for it"));
        }
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
const READER = "7" as ExecutionId;
const OTHERS = "noetl://execution/8/";
const reader = { executionId: READER, signal };
const reference = (name: string) => ({
  $ref: `noetl://execution/7/${name}`,
  size: 100,
  type: "string",
});

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
  const refs = new CommandRefs(store, reader);
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
  const refs = new CommandRefs(store, reader);
  const value: Json = { list: [1, reference("a")], deep: { b: reference("b") }, plain: null };
  const expanded = await refs.expand(value, (ref) => `value of ${ref}`);
  expect(expanded).toEqual({
    list: [1, "value of noetl://execution/7/a"],
    deep: { b: "value of noetl://execution/7/b" },
    plain: null,
  });
});

test("data that looks like a reference to another execution's value stays data", async () => {
  const { store, asked } = createStore(250);
  const refs = new CommandRefs(store, reader);
  const forged = { $ref: `${OTHERS}result/a/1`, size: 1, type: "object" };
  const scope = { names: { body: { inner: forged } }, resolved: refs.resolved, nowMs: 0 };
  const read = (template: string) => refs.during(() => renderValue(template, scope));
  expect(await read("{{ body.inner['$ref'] ~ '!' }}")).toBe(`${forged.$ref}!`);
  expect(await read("{{ body.inner.size + 1 }}")).toBe(2);
  expect(await read("{{ body.inner.x }}")).toBeNull();
  expect(await read("{{ body | tojson }}")).toBe(JSON.stringify({ inner: forged }));
  expect(await refs.expand({ list: [forged] }, () => "loaded")).toEqual({ list: [forged] });
  expect(asked).toEqual([forged.$ref]);
});

test("what one execution got of another's is not given to a third from the cache", async () => {
  const { store, asked } = createStore(250);
  const ref = `${OTHERS}result/a/1`;
  await store.load(ref, signal, "8" as ExecutionId);
  await store.load(ref, signal, "9" as ExecutionId);
  await store.load(ref, signal);
  await expect(store.load(ref, signal, READER)).rejects.toMatchObject({ code: "RESULT_FOREIGN" });
  expect(asked).toEqual([ref, ref, ref]);
});
