/** The smallest gRPC service: gives back the bytes it got. */

const identity = (body: Buffer): Buffer => body;

export const ECHO_SERVICE = {
  echo: {
    path: "/bench.Echo/echo",
    requestStream: false,
    responseStream: false,
    requestSerialize: identity,
    requestDeserialize: identity,
    responseSerialize: identity,
    responseDeserialize: identity,
  },
} as const;
