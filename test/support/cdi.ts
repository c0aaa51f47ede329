/** GPUs that podman knows by a CDI specification: device nodes that are /dev/null. */
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Podman looks there and in /etc/cdi only. */
const DIR = "/var/run/cdi";
const PREFIX = "noetl-test-";

/** Until the end of the scope; removes what killed runs have left. Ids must be new on the machine. */
export function writeCdiSpec(gpuIds: readonly string[]): Disposable {
  mkdirSync(DIR, { recursive: true });
  removeStale();
  const path = join(DIR, `${PREFIX}${process.pid}-${crypto.randomUUID()}.json`);
  const devices = gpuIds.map((id, index) => ({
    name: id,
    containerEdits: {
      env: [`TEST_GPU_${index}=${id}`],
      deviceNodes: [{ path: `/dev/nvidia${index}`, hostPath: "/dev/null" }],
    },
  }));
  writeFileSync(path, JSON.stringify({ cdiVersion: "0.5.0", kind: "nvidia.com/gpu", devices }));
  return { [Symbol.dispose]: () => rmSync(path, { force: true }) };
}

function removeStale(): void {
  for (const name of readdirSync(DIR)) {
    const pid = new RegExp(`^${PREFIX}(\\d+)-`).exec(name)?.[1];
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) {
      rmSync(join(DIR, name), { force: true });
    }
  }
}
