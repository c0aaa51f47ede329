/** A real S3 server in this process, for tests: checks signatures, keeps its objects in a folder. */
import { join } from "node:path";
import S3rver from "@20minutes/s3rver";
import { Secret } from "../../src/core/secret.ts";
import type { S3Options } from "../../src/store/s3-result-store.ts";
import { makeScratchDir } from "./scratch.ts";

export interface TestS3 extends AsyncDisposable {
  /** Of a bucket that is there. */
  readonly options: S3Options;
  /** Keys in the bucket. */
  keys(): readonly string[];
}

const BUCKET = "results";
/** Of the files in which the server keeps its objects. */
const SUFFIX = "._S3rver_object";
/** The keys that the server knows. */
const KEY = "S3RVER";

export async function startS3(name: string, port = 0): Promise<TestS3> {
  const directory = makeScratchDir(name);
  const server = new S3rver({
    address: "127.0.0.1",
    port,
    silent: true,
    directory,
    configureBuckets: [{ name: BUCKET }],
  });
  const bound = await server.run();
  const options: S3Options = {
    bucket: BUCKET,
    endpoint: `http://127.0.0.1:${bound.port}`,
    region: "us-east-1",
    accessKey: KEY,
    secretKey: new Secret(KEY),
    prefix: "noetl",
  };
  return {
    options,
    keys: () =>
      [...new Bun.Glob(`**/*${SUFFIX}`).scanSync({ cwd: join(directory, BUCKET), dot: true })].map(
        (path) => path.slice(0, -SUFFIX.length),
      ),
    [Symbol.asyncDispose]: async () => await server.close(),
  };
}
