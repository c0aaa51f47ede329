/**
 * Errors that the driver writes into the kernel's log: XIDs. Which of them mean that a GPU must not be used any more,
 * in plain words, and what helps.
 *
 * Those that applications cause are left to the task that caused them; all others take the GPU out of service, also
 * numbers that are not in the table, as NVIDIA's own device plugin does.
 */

export type XidClass = "application" | "notice" | "memory" | "link" | "lost" | "firmware" | "other";

export interface Xid {
  readonly class: XidClass;
  /** What it means, as half a sentence. */
  readonly meaning: string;
  /** What to do, as a sentence. */
  readonly remedy: string;
}

const RESET = "Reset it (nvidia-smi -r -i ID, with nothing running on it) or reboot.";
const REBOOT = "Reboot; if it comes back, check power, cooling and seating, or have it replaced.";
const DRIVER = "Reset it or reboot; if it comes back, update the driver.";
const FABRIC =
  "Check the fabric manager and the NVLink state (nvidia-smi nvlink -s), then reset it.";

const XIDS: ReadonlyMap<number, Xid> = new Map([
  ...ofClass("application", "The task's own fault: nothing to do here.", [
    [13, "a kernel made an illegal access or instruction"],
    [31, "a kernel accessed memory that is not mapped"],
    [43, "a task's channel was stopped after its own error"],
    [45, "a task's channels were torn down, mostly because it was killed"],
    [68, "the video decoder stopped on a task's data"],
    [109, "a task's work did not switch in time"],
  ]),
  ...ofClass("notice", "Nothing to do.", [
    [92, "many memory errors were corrected"],
    [106, "a message of the board's sensor bus failed"],
    [121, "an error of the chip-to-chip link was corrected"],
  ]),
  ...ofClass("memory", RESET, [
    [48, "memory had an error that could not be corrected"],
    [63, "a broken part of memory was set aside, which a reset completes"],
    [64, "a broken part of memory could not be set aside"],
    [94, "an uncorrectable memory error was contained to one task"],
    [95, "an uncorrectable memory error was not contained"],
    [140, "memory had an error that could not be recovered"],
    [160, "a broken memory channel could not be repaired"],
    [171, "memory had an uncorrectable error"],
    [172, "on-chip memory had an uncorrectable error"],
  ]),
  ...ofClass("link", FABRIC, [
    [74, "an NVLink connection failed"],
    [137, "an NVLink access was refused"],
    ...[144, 145, 146, 147, 148, 149, 150].map(
      (code) => [code, "NVLink reported a fatal error"] as const,
    ),
  ]),
  ...ofClass("lost", REBOOT, [
    [79, "the GPU has fallen off the bus: the machine cannot reach it"],
    [54, "auxiliary power is not connected"],
    [62, "its power or clock controller halted"],
    [110, "a security fault stopped it"],
  ]),
  ...ofClass("firmware", DRIVER, [
    [32, "the driver sent it a broken command stream"],
    [38, "its firmware reported an error"],
    [46, "it stopped handling work"],
    [56, "its display engine failed"],
    [61, "an internal controller hit a breakpoint"],
    [69, "its graphics engine class failed"],
    [119, "its system processor (GSP) did not answer in time"],
    [120, "its system processor (GSP) failed"],
    [143, "its initialisation failed"],
  ]),
]);

function ofClass(
  name: XidClass,
  remedy: string,
  rows: readonly (readonly [code: number, meaning: string])[],
): readonly (readonly [number, Xid])[] {
  return rows.map(([code, meaning]) => [code, { class: name, meaning, remedy }]);
}

export function describeXid(code: number): Xid {
  const unknown = { class: "other", meaning: "an error of the driver's", remedy: DRIVER } as const;
  return XIDS.get(code) ?? unknown;
}

/** True if the GPU must not be used after it. */
export function isCritical({ class: name }: Xid): boolean {
  return name !== "application" && name !== "notice";
}
