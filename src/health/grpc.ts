/** Servers as workers and gRPC clients reach them. */
import { isIP } from "node:net";
import { probeServer } from "../rpc/probe.ts";
import type { ClientTls } from "../rpc/tls.ts";
import { parseAddress, tlsHint } from "../rpc/tls.ts";
import type { Check, Finding } from "./finding.ts";
import { CheckFailure, CONNECT_SHARE, degraded } from "./finding.ts";
import { describePeer } from "./peer.ts";
import { clipped } from "./words.ts";

export interface GrpcOptions {
  /** `host:port`, or `tls://host:port`. */
  readonly addresses: readonly string[];
  /** For `tls://` addresses; undefined: known authorities, no certificate. */
  readonly clientTls?: ClientTls | undefined;
  readonly timeoutMs: number;
}

const SETTING = "NOETL_GRPC_ADDRESS";

interface Target {
  readonly address: string;
  readonly isTls: boolean;
}

export function grpcChecks({
  addresses,
  clientTls = {},
  timeoutMs,
}: GrpcOptions): readonly Check[] {
  return addresses.map((text) => {
    const { address, isTls } = parseAddress(text);
    const component = addresses.length === 1 ? "grpc" : `grpc/${address}`;
    return {
      component,
      run: async ({ signal, doing }) => {
        doing(`gRPC health of ${address}`);
        const tls = isTls ? clientTls : undefined;
        const answer = await probeServer({
          address,
          tls,
          timeoutMs: timeoutMs * CONNECT_SHARE,
          signal,
        });
        switch (answer.status) {
          case "serving":
            return [serving(component, { address, isTls })];
          case "not_serving":
            return [notServing(component, { address, isTls })];
          case "not_ours":
            throw new CheckFailure(
              `What answers gRPC at ${address} is not a noetl server: ${clipped(answer.reason)}`,
              `Correct ${SETTING}.`,
            );
          case "unreachable":
            throw await unreachable({ address, isTls }, answer.reason);
        }
      },
    };
  });
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

function serving(component: string, { address, isTls }: Target): Finding {
  return {
    component,
    summary: `Serves workers at ${address}${isTls ? " (TLS)" : ""}`,
    problems: [],
    facts: { address, is_tls: isTls },
  };
}

function notServing(component: string, { address, isTls }: Target): Finding {
  return {
    component,
    summary: "",
    problems: [
      degraded(
        `The server at ${address} does not serve workers: it starts or stops`,
        "Wait; if it stays so, read the server's log.",
      ),
    ],
    facts: { address, is_tls: isTls },
  };
}

async function unreachable({ address, isTls }: Target, reason: string): Promise<CheckFailure> {
  const { hostname, port } = new URL(`http://${address}`);
  const peer = await describePeer({
    host: hostname.replace(/^\[|\]$/g, ""),
    port: Number(port) || 80,
  });
  const who = `No gRPC at ${address}`;
  if (!isTls && peer.includes("TLS")) {
    return new CheckFailure(
      `${who}: it speaks TLS, and was called without`,
      `Write tls://${address} in ${SETTING}.`,
    );
  }
  if (isTls && peer.includes("gRPC without TLS")) {
    return new CheckFailure(
      `${who}: it speaks plain gRPC, and was called with TLS`,
      `Write ${address} without tls:// in ${SETTING}.`,
    );
  }
  if (isTls && isIP(hostname.replace(/^\[|\]$/g, "")) !== 0) {
    return new CheckFailure(
      `${who}: with TLS it must be called by a name, not by an address`,
      `Write the name that its certificate is for in ${SETTING}.`,
    );
  }
  if (isTls && peer.includes("TLS")) {
    return new CheckFailure(
      `${who}: the TLS handshake fails (${clipped(reason)})`,
      sentence(
        tlsHint(reason) ?? "correct NOETL_GRPC_CA_FILE, NOETL_TLS_CERT or the name of the host",
      ),
    );
  }
  if (/HTTP server/.test(peer)) {
    return new CheckFailure(
      `${who}: ${peer}`,
      `Correct ${SETTING}: the gRPC port is not the port of the HTTP API.`,
    );
  }
  return peer.includes("answers there") && !peer.includes("HTTP/2")
    ? new CheckFailure(`${who}: ${peer}`, `Correct ${SETTING}: that is another program's port.`)
    : new CheckFailure(
        `${who}: ${peer.includes("HTTP/2") ? clipped(reason) : peer}`,
        `Start a server, or correct ${SETTING}.`,
      );
}

/** The port that goes with the API's by default: nobody has said that it is used. */
export function guessedGrpcCheck(address: string, timeoutMs: number): Check {
  const [check] = grpcChecks({ addresses: [address], timeoutMs });
  return {
    component: "grpc",
    run: async (context) => {
      try {
        return (await check?.run(context)) ?? [];
      } catch (error) {
        throw asGuess(error);
      }
    },
  };
}

/** That nothing is where nobody said that it is, is no failure. */
function asGuess(error: unknown): unknown {
  if (!(error instanceof CheckFailure)) {
    return error;
  }
  const nextStep = `Name the server's gRPC port with ${SETTING} if it is another one.`;
  return new CheckFailure(error.problem.message, nextStep, { status: "unknown", cause: error });
}
