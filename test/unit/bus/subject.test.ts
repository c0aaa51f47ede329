import { describe, expect, test } from "bun:test";
import {
  commandSubject,
  consumerName,
  logFilter,
  logSubject,
  poolFilter,
} from "../../../src/bus/subject.ts";
import type { ExecutionId } from "../../../src/core/ids.ts";

const EXECUTION = "321" as ExecutionId;

describe("subjects", () => {
  test("name pool and execution", () => {
    expect(commandSubject("noetl.commands", "gpu-01", EXECUTION)).toBe("noetl.commands.gpu-01.321");
    expect(poolFilter("noetl.commands", "gpu-01")).toBe("noetl.commands.gpu-01.>");
    expect(consumerName("noetl_worker", "gpu-01")).toBe("noetl_worker_gpu-01");
  });

  test("refuse a pool name that is not one token", () => {
    for (const pool of ["", "a.b", "a b", "*", ">", "ä", "x".repeat(65)]) {
      expect(() => poolFilter("noetl.commands", pool)).toThrow("Pool name");
    }
  });

  test("carry any step name as one token", () => {
    expect(logSubject("noetl.logs", EXECUTION, "load data.v2*>")).toBe(
      "noetl.logs.321.load%20data%2Ev2%2A%3E",
    );
    expect(logFilter("noetl.logs", EXECUTION)).toBe("noetl.logs.321.>");
    expect(logFilter("noetl.logs", EXECUTION, "a.b")).toBe("noetl.logs.321.a%2Eb");
  });
});
