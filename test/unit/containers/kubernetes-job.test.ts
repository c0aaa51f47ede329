import { describe, expect, test } from "bun:test";
import { Job } from "kubernetes-models/batch/v1/Job";
import { Secret } from "kubernetes-models/v1/Secret";
import { buildJob } from "../../../src/containers/kubernetes/job.ts";
import { jobName, labelValue } from "../../../src/containers/kubernetes/owner.ts";
import type { ContainerSpec } from "../../../src/containers/runtime.ts";
import { ownerOf, specOf } from "../../support/kubernetes-job.ts";
import { manifestProblems } from "../../support/kubernetes-schema.ts";

const FULL = specOf({
  command: ["python", "-c", "print('$(HOME) $$')"],
  args: ["--epochs", "3"],
  env: { TOKEN: "s3cret", EMPTY: "" },
  workdir: "/src",
  user: "1000:2000",
  mounts: [
    { type: "claim", source: "models", target: "/models", isReadOnly: true },
    { type: "config_map", source: "settings", target: "/settings", isReadOnly: false },
    { type: "secret", source: "keys", target: "/keys", isReadOnly: true },
    { type: "empty_dir", source: "", target: "/scratch", isReadOnly: false },
    { type: "tmpfs", source: "", target: "/fast", isReadOnly: false },
  ],
  files: {
    "input.json": new TextEncoder().encode("{}"),
    "files/train.py": new TextEncoder().encode("pass"),
  },
  resources: {
    cpu: 1.5,
    memoryBytes: 2 ** 30,
    shmBytes: 2 ** 26,
    pids: 100,
    ulimits: ["memlock=-1:-1"],
  },
  gpus: { ids: [], count: 2 },
  capabilities: ["CAP_SYS_NICE"],
  cluster: {
    namespace: "science",
    serviceAccount: "trainer",
    nodeSelector: { "nvidia.com/gpu.product": "NVIDIA-H200" },
    tolerations: [
      { key: "nvidia.com/gpu", operator: "Exists", effect: "NoExecute", toleration_seconds: 60 },
    ],
    runtimeClass: "nvidia",
    requests: { cpu: "500m" },
    limits: { "ephemeral-storage": "1Gi" },
    imagePullSecrets: ["team"],
    ttlSeconds: 60,
    deadlineMs: 90_500,
    labels: { team: "vision", "noetl.platform": "forged" },
    pullPolicy: "always",
    login: { username: "u", password: "p4ss" },
    secretEnv: { PASSWORD: { name: "db", key: "password" } },
  },
});

describe("a Job", () => {
  test.each([
    ["with nothing but an image", specOf({ env: {}, files: {} })],
    ["with all there is", FULL],
  ])("%s is what Kubernetes' schema wants", (_what, spec) => {
    const { job, secrets } = buildJob(spec, "noetl", undefined);
    expect(manifestProblems("V1Job", job)).toEqual([]);
    expect(() => new Job(JSON.parse(JSON.stringify(job))).validate()).not.toThrow();
    for (const { secret } of secrets) {
      expect(manifestProblems("V1Secret", secret)).toEqual([]);
      expect(() => new Secret(JSON.parse(JSON.stringify(secret))).validate()).not.toThrow();
    }
  });

  test("has what the task asks for", () => {
    const { job, secrets, name, namespace } = buildJob(FULL, "noetl", undefined);
    const pod = job.spec?.template.spec;
    const [container] = pod?.containers ?? [];
    expect(namespace).toBe("science");
    expect(job.spec).toMatchObject({
      backoffLimit: 0,
      activeDeadlineSeconds: 91,
      ttlSecondsAfterFinished: 60,
      suspend: true,
    });
    expect(job.metadata?.labels).toMatchObject({
      team: "vision",
      "noetl.platform": ownerOf().platformId,
      "noetl.execution-id": ownerOf().executionId,
      "noetl.step-name": "train_model",
      "noetl.tool-kind": "container",
    });
    expect(pod).toMatchObject({
      restartPolicy: "Never",
      serviceAccountName: "trainer",
      automountServiceAccountToken: true,
      terminationGracePeriodSeconds: 10,
      runtimeClassName: "nvidia",
      imagePullSecrets: [{ name: "team" }, { name: `${name}-registry` }],
      tolerations: [
        { key: "nvidia.com/gpu", operator: "Exists", effect: "NoExecute", tolerationSeconds: 60 },
      ],
      securityContext: { runAsUser: 1000, runAsGroup: 2000, runAsNonRoot: true },
    });
    expect(container?.resources).toEqual({
      limits: {
        cpu: "1500m",
        memory: "1073741824",
        "ephemeral-storage": "1Gi",
        "nvidia.com/gpu": "2",
      },
      requests: { cpu: "500m" },
    });
    expect(container?.command?.[2]).toBe("print('$$(HOME) $$$$')");
    expect(container?.securityContext).toEqual({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ["ALL"], add: ["SYS_NICE"] },
    });
    expect(container?.volumeMounts?.map(({ mountPath }) => mountPath)).toEqual([
      "/noetl",
      "/dev/shm",
      "/tmp",
      "/models",
      "/settings",
      "/keys",
      "/scratch",
      "/fast",
      "/noetl/input.json",
      "/noetl/files/train.py",
    ]);
    expect(JSON.stringify(job)).not.toMatch(/s3cret|p4ss/);
    const config = secrets.find(({ isLogin }) => isLogin)?.secret.data?.[".dockerconfigjson"];
    expect(JSON.parse(Buffer.from(`${config}`, "base64").toString())).toEqual({
      auths: { "registry.example": { username: "u", password: "p4ss", auth: btoa("u:p4ss") } },
    });
  });

  test("is not suspended when it needs no secret", () => {
    const { job, secrets } = buildJob(specOf({ env: {}, files: {} }), "noetl", undefined);
    expect([job.spec?.suspend, secrets]).toEqual([undefined, []]);
    expect(job.spec?.template.spec?.automountServiceAccountToken).toBe(false);
  });

  test("takes MIG slices by their resource", () => {
    const gpus = { ids: [], count: 1, resource: "nvidia.com/mig-1g.10gb" };
    const { job } = buildJob(specOf({ gpus }), "noetl", undefined);
    expect(job.spec?.template.spec?.containers[0]?.resources?.limits).toEqual({
      "nvidia.com/mig-1g.10gb": "1",
    });
  });

  const refused: readonly (readonly [string, Partial<ContainerSpec>, string])[] = [
    ["network: none", { network: "none" }, "NetworkPolicy"],
    ["a user by name", { user: "nobody" }, "by number"],
    [
      "files of the node",
      { mounts: [{ type: "bind", source: "/etc", target: "/etc", isReadOnly: true }] },
      "runtime: kubernetes does not mount /etc",
    ],
    [
      "files beyond 1 MiB",
      { files: { "files/big.bin": new Uint8Array(2 ** 20 + 1) } },
      "files/big.bin alone has 1048577",
    ],
  ];
  test.each(refused)("does not take %s, and says what to do", (_what, more, text) => {
    expect(() => buildJob(specOf(more), "noetl", undefined)).toThrow(text);
  });
});

describe("names", () => {
  test("are of the command and the platform, whatever the attempt, and fit into a label", () => {
    const owner = ownerOf({ step: "Straße №1 — ein sehr langer Name eines Schritts" });
    const name = jobName(owner);
    expect(name).toMatch(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/);
    expect(name.length).toBeLessThanOrEqual(63);
    expect(jobName({ ...owner, attempt: 2, workerId: "9" })).toBe(name);
    expect(jobName({ ...owner, platformId: "another" })).not.toBe(name);
    expect(jobName(ownerOf({ step: "№" }))).toMatch(/^noetl-383058044193341442-/);
  });

  test("become values of labels", () => {
    expect(labelValue("_Straße 1.")).toBe("Stra-e-1");
    expect(labelValue("x".repeat(80)).length).toBe(63);
  });
});
