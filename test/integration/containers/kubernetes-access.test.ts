/** How a worker comes to its cluster: as a pod, or by a kubeconfig; against a stand-in with TLS. */
import { describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ClusterOptions } from "../../../src/containers/kubernetes/access.ts";
import { hasCluster, openCluster } from "../../../src/containers/kubernetes/access.ts";
import { KubernetesRuntime } from "../../../src/containers/kubernetes/runtime.ts";
import { CERTIFICATE } from "../../support/certificate.ts";
import { StandInCluster } from "../../support/kubernetes.ts";
import { quiet, specOf } from "../../support/kubernetes-job.ts";
import { makeScratchDir } from "../../support/scratch.ts";

const NEVER = new AbortController().signal;

function runtimeBy(options: ClusterOptions): KubernetesRuntime {
  return new KubernetesRuntime(() => openCluster(options), quiet());
}

function accountOf(cluster: StandInCluster): ClusterOptions {
  const accountDir = makeScratchDir("account");
  writeFileSync(join(accountDir, "token"), `${cluster.token}\n`);
  writeFileSync(join(accountDir, "ca.crt"), CERTIFICATE.cert);
  writeFileSync(join(accountDir, "namespace"), "jobs");
  return { serviceHost: "127.0.0.1", servicePort: String(cluster.port), accountDir };
}

function kubeconfigOf(cluster: StandInCluster, token: string): string {
  const file = join(makeScratchDir("kubeconfig"), "config");
  const ca = Buffer.from(CERTIFICATE.cert).toString("base64");
  const config = {
    apiVersion: "v1",
    kind: "Config",
    "current-context": "test",
    clusters: [{ name: "c", cluster: { server: cluster.url, "certificate-authority-data": ca } }],
    users: [{ name: "u", user: { token } }],
    contexts: [
      { name: "test", context: { cluster: "c", user: "u", namespace: "science" } },
      { name: "empty", context: { cluster: "none", user: "u" } },
    ],
  };
  writeFileSync(file, JSON.stringify(config));
  return file;
}

describe("as a pod", () => {
  test("trusts the account's authority, sends its token and uses its namespace", async () => {
    await using cluster = new StandInCluster({ tls: CERTIFICATE });
    const options = accountOf(cluster);
    expect(hasCluster(options)).toBe(true);
    const handle = await runtimeBy(options).start(specOf(), NEVER);
    expect(handle.id).toStartWith("jobs/");
    const named = await openCluster({ ...options, namespace: "others" });
    expect(named.namespace).toBe("others");
  });

  test("reads a token again that was exchanged", async () => {
    await using cluster = new StandInCluster({ tls: CERTIFICATE });
    const options = accountOf(cluster);
    const runtime = runtimeBy(options);
    await runtime.start(specOf(), NEVER);
    cluster.token = "the next one";
    writeFileSync(join(options.accountDir, "token"), "the next one");
    expect(await runtime.list("none")).toEqual([]);
    cluster.token = "one that no file has";
    await expect(runtime.list("none")).rejects.toMatchObject({
      kind: "auth",
      code: "KUBERNETES_UNAUTHORIZED",
    });
  });

  test("does not talk to a cluster of another authority", async () => {
    await using cluster = new StandInCluster({ tls: CERTIFICATE });
    const runtime = new KubernetesRuntime(
      () =>
        Promise.resolve({
          server: cluster.url,
          namespace: "noetl",
          credentials: () => Promise.resolve({ headers: { authorization: "x" }, tls: {} }),
        }),
      quiet(),
    );
    expect(await runtime.probe()).toMatchObject({
      isUsable: false,
      problem: expect.stringContaining("The cluster is not trusted"),
    });
    expect(cluster.seen).toEqual([]);
  });
});

describe("by a kubeconfig", () => {
  test("uses the cluster, user and namespace of its context", async () => {
    await using cluster = new StandInCluster({ tls: CERTIFICATE });
    const kubeconfig = kubeconfigOf(cluster, cluster.token);
    const runtime = runtimeBy({ accountDir: "/nowhere", kubeconfig });
    const handle = await runtime.start(specOf(), NEVER);
    expect(handle.id).toStartWith("science/");
    expect(await runtime.probe()).toEqual({
      name: "kubernetes",
      version: "v1.31.2",
      isUsable: true,
      gpus: "cluster",
    });
  });

  test("says what is wrong with one", async () => {
    await using cluster = new StandInCluster({ tls: CERTIFICATE });
    const kubeconfig = kubeconfigOf(cluster, "wrong");
    const accountDir = "/nowhere";
    const problemOf = async (options: ClusterOptions): Promise<string | undefined> =>
      (await runtimeBy(options).probe()).problem;
    expect(await problemOf({ accountDir, kubeconfig })).toContain("does not accept this worker's");
    expect(await problemOf({ accountDir, kubeconfig, context: "empty" })).toContain(
      'has no cluster for the context "empty"',
    );
    expect(await problemOf({ accountDir, kubeconfig: "/nowhere/config" })).toContain("ENOENT");
  });
});

describe("without either", () => {
  test("there is none: a developer's kubeconfig is never looked at", async () => {
    await using cluster = new StandInCluster();
    const home = makeScratchDir("home");
    mkdirSync(join(home, ".kube"));
    writeFileSync(join(home, ".kube/config"), await Bun.file(kubeconfigOf(cluster, "x")).text());
    const program = `
      import { hasCluster, openCluster } from ${JSON.stringify(join(import.meta.dir, "../../../src/containers/kubernetes/access.ts"))};
      const options = { accountDir: "/nowhere" };
      console.log(hasCluster(options), await openCluster(options).catch((error) => error.code));`;
    const child = Bun.spawnSync([process.execPath, "-e", program], {
      env: { HOME: home, KUBECONFIG: join(home, ".kube/config"), PATH: "/usr/bin:/bin" },
    });
    expect(child.stdout.toString()).toBe("false KUBERNETES_ABSENT\n");
    expect(hasCluster({ accountDir: "/nowhere", serviceHost: "10.0.0.1" })).toBe(false);
  });
});
