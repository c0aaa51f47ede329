/** Certificates for tests of TLS. */
import { join } from "node:path";
import { makeScratchDir } from "./scratch.ts";

/**
 * A certificate for 127.0.0.1 and localhost that nobody vouches for, good until 2126, with its key: for
 * tests of TLS alone. Made by `openssl req -x509 -newkey ec -nodes -days 36500`.
 */
export const CERTIFICATE = {
  cert: `-----BEGIN CERTIFICATE-----
MIIBmzCCAUGgAwIBAgIUClotTl5h3k71wOCXeoh0YlnRN/8wCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMzAzNTQxMloYDzIxMjYxMDMw
MDM1NDEyWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQsYhXgp+6T2ncytx+6SGnRPTFipXdLzuxfQl2i/bNE3GsbyGYKAueY
1Pqa2qNQ/PCqmi19oj50qV0rwmjaygy7o28wbTAdBgNVHQ4EFgQUKCI99v0RW0qb
MKx5p4y9gA4ydGwwHwYDVR0jBBgwFoAUKCI99v0RW0qbMKx5p4y9gA4ydGwwDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDSAAwRQIhALaB/Hksch5ZrVaOSLNmqKs9hq8VruKzSg3quOReKX1wAiAh
e9tKu2QHsPi2GpovXU9byTDviALZe1i3VcQCPBzl2A==
-----END CERTIFICATE-----
`,
  key: `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgyMIJTS1YVdLpZYtd
f+jIzL7PL0HoEBVKsC/yzx8PRlehRANCAAQsYhXgp+6T2ncytx+6SGnRPTFipXdL
zuxfQl2i/bNE3GsbyGYKAueY1Pqa2qNQ/PCqmi19oj50qV0rwmjaygy7
-----END PRIVATE KEY-----
`,
};

/** PEM files below a folder. */
export interface Issued {
  readonly certificate: string;
  readonly key: string;
}

/** An authority that lives as long as the test run. */
export interface Authority {
  /** PEM file of its own certificate. */
  readonly file: string;
  /** A certificate for localhost and 127.0.0.1 with a key of its own, for servers and clients. */
  issue(name: string): Issued;
}

/** Made by the machine's openssl, below a new folder. */
export function createAuthority(name: string): Authority {
  const dir = makeScratchDir(`authority-${name}`);
  const at = (file: string): string => join(dir, file);
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  openssl("req", "-x509", ...key, "-keyout", at("ca.key"), "-out", at("ca.pem"), "-days", "2", [
    "-subj",
    `/CN=${name}`,
  ]);
  return {
    file: at("ca.pem"),
    issue: (owner) => {
      const issued = { certificate: at(`${owner}.pem`), key: at(`${owner}.key`) };
      openssl("req", "-x509", ...key, "-keyout", issued.key, "-out", issued.certificate, [
        ...["-CA", at("ca.pem"), "-CAkey", at("ca.key"), "-days", "2", "-subj", `/CN=${owner}`],
        ...["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        ...["-addext", "basicConstraints=critical,CA:FALSE"],
      ]);
      return issued;
    },
  };
}

/** @throws Error with what it says. */
function openssl(...args: readonly (string | readonly string[])[]): void {
  const { exitCode, stderr } = Bun.spawnSync(["openssl", ...args.flat()], { stderr: "pipe" });
  if (exitCode !== 0) {
    throw new Error(`openssl: ${stderr.toString()}`);
  }
}
