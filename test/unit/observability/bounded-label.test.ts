import { expect, test } from "bun:test";
import { createBoundedLabel } from "../../../src/observability/bounded-label.ts";

test("the first values keep their names, the others are shown as one", () => {
  const labelOf = createBoundedLabel(2);
  expect(["a", "b", "c", "a", "d", "b"].map(labelOf)).toEqual([
    "a",
    "b",
    "other",
    "a",
    "other",
    "b",
  ]);
  expect(createBoundedLabel(0)("a")).toBe("other");
});
