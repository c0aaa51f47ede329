import { describe, expect, test } from "bun:test";
import type { Faults } from "../../../src/gpu/faults.ts";
import { createFaults } from "../../../src/gpu/faults.ts";
import { describeXid, isCritical } from "../../../src/gpu/xid.ts";

const LOST =
  "NVRM: Xid (PCI:0000:41:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.";

function faultsAfter(...lines: readonly string[]): Faults {
  const faults = createFaults((id) => (id === "GPU-one" ? "0000:41:00" : undefined));
  for (const line of lines) {
    faults.take(line);
  }
  return faults;
}

describe("the kernel's log", () => {
  test("puts a GPU out of service, with what happened and what to do", () => {
    const reason = faultsAfter(LOST).of("0000:41:00");
    expect(reason).toContain("XID 79");
    expect(reason).toContain("fallen off the bus");
    expect(reason).toContain("Reboot");
    expect(faultsAfter(LOST).of("0000:42:00")).toBeUndefined();
  });

  test.each([13, 31, 43, 45, 68, 109])("leaves XID %i to the task that caused it", (code) => {
    const line = `NVRM: Xid (PCI:0000:41:00): ${code}, pid=4711, name=python3, Graphics Exception`;
    const faults = faultsAfter();
    expect(faults.take(line)).toEqual({ pciAddress: "0000:41:00", code, class: "application" });
    expect(faults.of("0000:41:00")).toBeUndefined();
  });

  test.each([48, 62, 63, 64, 74, 94, 95, 119, 4242])("XID %i takes it out of service", (code) => {
    expect(faultsAfter(`NVRM: Xid (PCI:0000:41:00): ${code}, x`).of("0000:41:00")).toContain(
      `XID ${code}`,
    );
  });

  test("is read in the shapes of older and newer drivers, and of slices", () => {
    for (const address of ["0000:41:00", "PCI:0000:41:00", "PCI:0000:41:00 GPU-I:05 GPU-CI:00"]) {
      const line = `[  123.456] NVRM: Xid (${address}): 95, Contained: SM`;
      expect(faultsAfter(line).of("0000:41:00")).toContain("XID 95");
    }
  });

  test("keeps the first fault and counts what followed from it", () => {
    const reason = faultsAfter(LOST, "NVRM: Xid (PCI:0000:41:00): 119, timeout", LOST).of(
      "0000:41:00",
    );
    expect(reason).toContain("XID 79");
    expect(reason).toContain("2 more followed");
  });

  test("of before the driver was loaded does not count", () => {
    const loaded =
      "NVRM: loading NVIDIA UNIX Open Kernel Module for x86_64  550.54.15  Release Build";
    expect(faultsAfter(LOST, loaded).of("0000:41:00")).toBeUndefined();
    expect(faultsAfter(loaded, LOST).of("0000:41:00")).toBeDefined();
  });

  test("ends a fault when an operator writes so, by address, UUID or all", () => {
    for (const name of ["0000:41:00", "00000000:41:00.0", "GPU-one", "all"]) {
      expect(faultsAfter(LOST, `noetl: gpu cleared ${name}`).of("0000:41:00")).toBeUndefined();
    }
    for (const name of ["0000:42:00", "GPU-two"]) {
      expect(faultsAfter(LOST, `noetl: gpu cleared ${name}`).of("0000:41:00")).toBeDefined();
    }
  });

  test("ends a fault when the driver says that it is recovered, and not when it asks for a reset", () => {
    const asks =
      "NVRM: Xid (PCI:0000:41:00): 154, GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)";
    const ends =
      "NVRM: Xid (PCI:0000:41:00): 154, GPU recovery action changed from 0x1 (GPU Reset Required) to 0x0 (None)";
    expect(faultsAfter(asks).of("0000:41:00")).toContain("XID 154");
    expect(faultsAfter(LOST, asks, ends).of("0000:41:00")).toBeUndefined();
  });

  test("of anything else says nothing", () => {
    for (const line of ["usb 1-1: new device", "NVRM: GPU at PCI:0000:41:00: GPU-one", ""]) {
      expect(faultsAfter().take(line)).toBeUndefined();
    }
  });
});

test("every known XID that counts says what to do", () => {
  for (let code = 0; code < 200; code += 1) {
    const xid = describeXid(code);
    expect(xid.meaning).not.toBe("");
    expect(!isCritical(xid) || /reset|reboot/i.test(xid.remedy)).toBe(true);
  }
});
