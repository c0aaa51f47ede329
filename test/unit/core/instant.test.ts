import { expect, test } from "bun:test";
import { formatInstant, parseInstant } from "../../../src/core/instant.ts";

test("parseInstant() takes RFC 3339, UTC without a zone, and seconds since 1970", () => {
  const eight = Date.UTC(2026, 0, 31, 8);
  const spellings = [
    "2026-01-31T08:00:00Z",
    "2026-01-31t09:00:00.000+01:00",
    " 2026-01-31 08:00 ",
    "2026-01-31T03:00-0500",
    eight / 1000,
    `${eight / 1000}`,
  ];
  expect(spellings.map(parseInstant)).toEqual(spellings.map(() => eight));
  expect(parseInstant("2026-01-31")).toBe(Date.UTC(2026, 0, 31));
  expect(parseInstant(1.5)).toBe(1500);
});

test("parseInstant() refuses what is no point in time", () => {
  for (const value of ["", "tomorrow", "5m", "2026-13-01", "2026-01-31T25:00Z", -1, null, {}]) {
    expect(parseInstant(value)).toBeUndefined();
  }
});

test("formatInstant() writes what parseInstant() reads", () => {
  expect(parseInstant(formatInstant(1_234_567_890_123))).toBe(1_234_567_890_123);
});
