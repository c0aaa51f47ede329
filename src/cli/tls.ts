/** Certificates that the settings name, read and checked at start: what cannot work is said before anything runs. */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { checkTlsPair } from "../config/decide.ts";
import type { Fault } from "../config/read.ts";
import { configurationError } from "../config/read.ts";
import { errorMessage } from "../core/errors.ts";
import type { ServerTls } from "../rpc/server.ts";
import type { ClientTls } from "../rpc/tls.ts";

/** Paths of PEM files. */
export interface TlsFiles {
  readonly tlsCert?: string | undefined;
  readonly tlsKey?: string | undefined;
}

interface KeyPair {
  readonly certificate: string;
  readonly key: string;
}

/**
 * Undefined: without TLS.
 *
 * @throws AppError `CONFIGURATION_INVALID`.
 */
export function readServerTls(
  values: TlsFiles & { readonly tlsClientCa?: string | undefined },
): ServerTls | undefined {
  return collect((faults) => {
    const pair = readPair(values, faults);
    const clientAuthority = readCertificates("NOETL_TLS_CLIENT_CA", values.tlsClientCa, faults);
    return pair === undefined ? undefined : { ...pair, clientAuthority };
  });
}

/**
 * For calls of `tls://` addresses.
 *
 * @throws AppError `CONFIGURATION_INVALID`.
 */
export function readClientTls(
  values: TlsFiles & { readonly grpcCaFile?: string | undefined },
): ClientTls {
  return collect((faults) => ({
    ...readPair(values, faults),
    authority: readCertificates("NOETL_GRPC_CA_FILE", values.grpcCaFile, faults),
  }));
}

/**
 * Text of the authority that signed the certificate of an `https://` server; undefined: known ones.
 *
 * @throws AppError `CONFIGURATION_INVALID`.
 */
export function readServerAuthority(file: string | undefined): string | undefined {
  return collect((faults) => readCertificates("NOETL_CA_FILE", file, faults));
}

function collect<T>(read: (faults: Fault[]) => T): T {
  const faults: Fault[] = [];
  const found = read(faults);
  if (faults.length > 0) {
    throw configurationError(faults);
  }
  return found;
}

function readPair(files: TlsFiles, faults: Fault[]): KeyPair | undefined {
  faults.push(...checkTlsPair(files));
  const { tlsCert, tlsKey } = files;
  const certificate = readCertificates("NOETL_TLS_CERT", tlsCert, faults);
  const key = readText("NOETL_TLS_KEY", tlsKey, faults);
  if (certificate === undefined || key === undefined) {
    return undefined;
  }
  try {
    if (new X509Certificate(certificate).checkPrivateKey(createPrivateKey(key))) {
      return { certificate, key };
    }
    faults.push({
      name: "NOETL_TLS_KEY",
      message: `${tlsKey} is not the key of the certificate in ${tlsCert}`,
    });
  } catch {
    // The text of the error could quote the key.
    faults.push({
      name: "NOETL_TLS_KEY",
      message: `${tlsKey} has no private key in PEM without a passphrase`,
    });
  }
  return undefined;
}

/** The text of a file that begins with a certificate in PEM. */
function readCertificates(
  name: string,
  file: string | undefined,
  faults: Fault[],
): string | undefined {
  const text = readText(name, file, faults);
  if (text === undefined) {
    return undefined;
  }
  try {
    new X509Certificate(text);
    return text;
  } catch (error) {
    faults.push({ name, message: `${file} has no certificate in PEM: ${errorMessage(error)}` });
    return undefined;
  }
}

function readText(name: string, file: string | undefined, faults: Fault[]): string | undefined {
  try {
    return file === undefined ? undefined : readFileSync(file, "utf8");
  } catch (error) {
    faults.push({ name, message: `cannot read ${file}: ${errorMessage(error)}` });
    return undefined;
  }
}
