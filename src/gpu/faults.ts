/**
 * Faults of GPUs, folded from the lines of the kernel's log in their order, so that what a reader sees does not
 * depend on when it started. Pure.
 *
 * A fault ends when the driver is loaded again (with a reboot too, since the log begins anew), when the driver says
 * that the GPU needs no recovery any more (XID 154, since 565), or when an operator writes so into the log:
 *
 * ```sh
 * echo "noetl: gpu cleared 0000:41:00" > /dev/kmsg    # or a GPU's UUID, or all
 * ```
 *
 * There, because it is where the fault is: each worker of the machine sees it, also after its restart.
 */
import { pciAddress } from "./reading.ts";
import type { XidClass } from "./xid.ts";
import { describeXid, isCritical } from "./xid.ts";

export interface XidSeen {
  readonly pciAddress: string;
  readonly code: number;
  readonly class: XidClass;
}

export interface Faults {
  /** One line of the log; gives the XID that it holds, if any. */
  take(line: string): XidSeen | undefined;
  /** Why the GPU must not be used, a sentence. */
  of(pciAddress: string): string | undefined;
}

interface Fault {
  readonly text: string;
  count: number;
}

const XID = /NVRM: Xid \((?:PCI:)?([0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2})[^)]*\): (\d+)[,\s]*(.*)/i;
const LOADED = /NVRM: loading NVIDIA UNIX/;
const CLEARED = /noetl: gpu cleared (\S+)/;
/** `GPU recovery action changed from 0x1 (GPU Reset Required) to 0x0 (None)`. */
const RECOVERED = /recovery action changed .* to \w+ \(None\)/i;
const RECOVERY_ACTION = 154;
const DETAIL_CHARS = 160;

/** @param addressOf of a GPU or slice by its id, as far as it is known. */
export function createFaults(addressOf: (id: string) => string | undefined): Faults {
  const faults = new Map<string, Fault>();

  /** @param name address or UUID of a GPU, or `all`. */
  const clear = (name: string): void => {
    if (name.toLowerCase() === "all") {
      faults.clear();
    } else {
      faults.delete(addressOf(name) ?? pciAddress(name));
    }
  };

  const takeXid = (address: string, code: number, detail: string): XidSeen => {
    const xid = describeXid(code);
    if (code === RECOVERY_ACTION && RECOVERED.test(detail)) {
      faults.delete(address);
      return { pciAddress: address, code, class: "notice" };
    }
    if (isCritical(xid)) {
      const earlier = faults.get(address);
      if (earlier === undefined) {
        faults.set(address, { text: sentence(code, detail), count: 1 });
      } else {
        earlier.count += 1;
      }
    }
    return { pciAddress: address, code, class: xid.class };
  };

  return {
    take: (line) => {
      const cleared = CLEARED.exec(line)?.[1];
      if (LOADED.test(line) || cleared !== undefined) {
        clear(cleared ?? "all");
        return undefined;
      }
      const [, address, code = "", detail = ""] = XID.exec(line) ?? [];
      return address === undefined
        ? undefined
        : takeXid(pciAddress(address), Number(code), detail.trim());
    },
    of: (address) => {
      const fault = faults.get(address);
      return fault === undefined || fault.count === 1
        ? fault?.text
        : `${fault.text} ${fault.count - 1} more followed.`;
    },
  };
}

function sentence(code: number, detail: string): string {
  const { meaning, remedy } = describeXid(code);
  const said = detail === "" ? "" : ` (${detail.slice(0, DETAIL_CHARS)})`;
  return `XID ${code}: ${meaning}${said}. ${remedy}`;
}
