import { expect, test } from "bun:test";
import { Breaker } from "../../../src/triggers/breaker.ts";
import { RateLimit } from "../../../src/triggers/rate-limit.ts";

test("a breaker opens after failures in a row, tries once after its rest, and closes on success", () => {
  const states: string[] = [];
  const breaker = new Breaker({ failures: 2, cooldownMs: 1000 }, (state) => states.push(state));
  breaker.failure(0);
  breaker.success();
  breaker.failure(0);
  expect(breaker.waitMs(0)).toBe(0);
  breaker.failure(100);
  expect(breaker.waitMs(600)).toBe(500);
  expect([breaker.waitMs(1100), breaker.state]).toEqual([0, "half_open"]);
  breaker.failure(1200);
  expect(breaker.waitMs(1200)).toBe(1000);
  expect(breaker.waitMs(2200)).toBe(0);
  breaker.success();
  expect(states).toEqual(["open", "half_open", "open", "half_open", "closed"]);
});

test("a rate limit gives a second's worth at once and then evenly", () => {
  const rate = new RateLimit(2);
  expect([rate.take(0), rate.take(0)]).toEqual([0, 0]);
  expect(rate.take(0)).toBe(500);
  expect(rate.take(250)).toBe(250);
  expect(rate.take(500)).toBe(0);
  expect(rate.take(60_000)).toBe(0);
  const slow = new RateLimit(0.5);
  expect([slow.take(0), slow.take(0)]).toEqual([0, 2000]);
});
