/**
 * A stand-in of a container registry on a free loopback port, with one image, `busybox:1`, for pulls: the calls of the
 * distribution API that docker and podman make.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { imageArchive } from "./container-image.ts";

export const REGISTRY_LOGIN = { username: "puller", password: "pa:ss word" } as const;

export interface Registry extends Disposable {
  /** `127.0.0.1:5123`. */
  readonly host: string;
  /** Of the manifest. */
  readonly digest: string;
  /** Path of each request, newest last. */
  readonly requests: readonly string[];
}

interface Blob {
  readonly type: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

const MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG_TYPE = "application/vnd.docker.container.image.v1+json";
const LAYER_TYPE = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/** @param options.isPrivate everything needs a login. */
export function startRegistry({ isPrivate = false } = {}): Registry {
  const { blobs, manifest, digest } = makeImage();
  const requests: string[] = [];
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: (request) => {
      const path = new URL(request.url).pathname;
      requests.push(path);
      return isPrivate && !isLoggedIn(request) ? refusal() : answer(request, path, blobs, manifest);
    },
  });
  return {
    host: `127.0.0.1:${server.port}`,
    digest,
    requests,
    [Symbol.dispose]: () => void server.stop(true),
  };
}

function answer(
  request: Request,
  path: string,
  blobs: ReadonlyMap<string, Blob>,
  manifest: Blob,
): Response {
  const [, name, kind, reference = ""] =
    /^\/v2\/(.+)\/(manifests|blobs)\/([^/]+)$/.exec(path) ?? [];
  if (name === undefined) {
    return Response.json({});
  }
  const isKnown = reference === "1" || blobs.has(reference);
  const blob = kind === "manifests" && reference === "1" ? manifest : blobs.get(reference);
  if (!isKnown || blob === undefined) {
    const errors = [{ code: "MANIFEST_UNKNOWN", message: "manifest unknown" }];
    return Response.json({ errors }, { status: 404 });
  }
  const headers = { "Content-Type": blob.type, "Docker-Content-Digest": digestOf(blob.bytes) };
  return new Response(request.method === "HEAD" ? null : blob.bytes, {
    headers: { ...headers, "Content-Length": String(blob.bytes.length) },
  });
}

function refusal(): Response {
  const headers = { "WWW-Authenticate": 'Basic realm="test"' };
  const errors = [{ code: "UNAUTHORIZED", message: "authentication required" }];
  return Response.json({ errors }, { status: 401, headers });
}

function isLoggedIn(request: Request): boolean {
  const { username, password } = REGISTRY_LOGIN;
  const wanted = Buffer.from(`${username}:${password}`).toString("base64");
  return request.headers.get("Authorization") === `Basic ${wanted}`;
}

function makeImage(): {
  readonly blobs: ReadonlyMap<string, Blob>;
  readonly manifest: Blob;
  readonly digest: string;
} {
  const tar = readFileSync(imageArchive());
  const layer = { type: LAYER_TYPE, bytes: toBytes(gzipSync(tar, { level: 1 })) };
  const config = jsonBlob(CONFIG_TYPE, {
    architecture: process.arch === "arm64" ? "arm64" : "amd64",
    os: "linux",
    config: { Env: ["PATH=/bin"] },
    rootfs: { type: "layers", diff_ids: [digestOf(tar)] },
  });
  const manifest = jsonBlob(MANIFEST_TYPE, {
    schemaVersion: 2,
    mediaType: MANIFEST_TYPE,
    config: descriptor(config),
    layers: [descriptor(layer)],
  });
  const all = [layer, config, manifest].map((blob) => [digestOf(blob.bytes), blob] as const);
  return { blobs: new Map(all), manifest, digest: digestOf(manifest.bytes) };
}

function descriptor({ type, bytes }: Blob): object {
  return { mediaType: type, size: bytes.length, digest: digestOf(bytes) };
}

function jsonBlob(type: string, value: object): Blob {
  return { type, bytes: toBytes(Buffer.from(JSON.stringify(value))) };
}

function toBytes(buffer: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(buffer);
}

function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}
