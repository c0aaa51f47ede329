/** TLS of a caller: addresses that want it, its certificates, and what a failed handshake means. */
import { ChannelCredentials } from "@grpc/grpc-js";

export interface ClientTls {
  /** PEM text of who signed the servers' certificates; undefined: the system's authorities. */
  readonly authority?: string | undefined;
  /** PEM texts, for servers that ask for one. */
  readonly certificate?: string | undefined;
  readonly key?: string | undefined;
}

export interface Address {
  /** `host:port`. */
  readonly address: string;
  readonly isTls: boolean;
}

const SCHEME = "tls://";

/** @param text `host:port` or `tls://host:port`. */
export function parseAddress(text: string): Address {
  const isTls = text.startsWith(SCHEME);
  return { address: isTls ? text.slice(SCHEME.length) : text, isTls };
}

/** @param tls undefined: without TLS. */
export function channelCredentials(tls: ClientTls | undefined): ChannelCredentials {
  if (tls === undefined) {
    return ChannelCredentials.createInsecure();
  }
  const bytes = (text: string | undefined): Buffer | null =>
    text === undefined ? null : Buffer.from(text);
  return ChannelCredentials.createSsl(bytes(tls.authority), bytes(tls.key), bytes(tls.certificate));
}

interface Hint {
  readonly pattern: RegExp;
  readonly text: string;
}

/** Words of OpenSSL, BoringSSL and Bun, the first that fits. */
const HINTS: readonly Hint[] = [
  {
    pattern: /ALERT_(CERTIFICATE_REQUIRED|BAD_CERTIFICATE|UNKNOWN_CA|CERTIFICATE_UNKNOWN)/i,
    text: "the server asks for a certificate of an authority that it knows: NOETL_TLS_CERT and NOETL_TLS_KEY",
  },
  {
    pattern: /ALERT_CERTIFICATE_EXPIRED/i,
    text: "the certificate in NOETL_TLS_CERT has expired",
  },
  {
    pattern: /WRONG_VERSION_NUMBER/i,
    text: "what answers there speaks no TLS: write the address without tls://",
  },
  {
    pattern: /certificate (has expired|is not yet valid)|CERT_(HAS_EXPIRED|NOT_YET_VALID)/i,
    text: "the server's certificate is out of date, or a clock is wrong",
  },
  {
    pattern: /altname|hostname.*certificate|certificate.*hostname/i,
    text: "the server's certificate is for another name than the one in the address",
  },
  {
    pattern: /self.signed|unable to (verify|get)|unknown (ca|authority)|certificate/i,
    text: "the server's certificate is not of a known authority: name the authority's file with NOETL_GRPC_CA_FILE",
  },
  {
    pattern: /socket disconnected before secure TLS/i,
    text: "the connection was broken off before TLS began: does the address want tls://?",
  },
  {
    // Something listens, and breaks off: grpc-js has no word for a refused connection here.
    pattern: /Last error: Failed to connect/i,
    text: "the server breaks off: one with TLS wants tls:// before its address, one with mutual TLS a certificate of its authority (NOETL_TLS_CERT and NOETL_TLS_KEY)",
  },
];

/** What to do about a connection that failed for a certificate; undefined: it failed for something else. */
export function tlsHint(reason: string): string | undefined {
  return HINTS.find(({ pattern }) => pattern.test(reason))?.text;
}
