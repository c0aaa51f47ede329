/** What both ends of a connection agree on. */
import type { ChannelOptions } from "@grpc/grpc-js";

/** A stopped peer (SIGSTOP, pulled cable) is noticed within twice this. */
const KEEPALIVE_MS = 2000;
/** A claim may bring several large commands at once; what one of them may have is limited elsewhere. */
const MESSAGE_BYTES_MAX = 256 * 1024 * 1024;

export const CHANNEL_OPTIONS: ChannelOptions = {
  "grpc.keepalive_time_ms": KEEPALIVE_MS,
  "grpc.keepalive_timeout_ms": KEEPALIVE_MS,
  "grpc.keepalive_permit_without_calls": 1,
  "grpc.max_receive_message_length": MESSAGE_BYTES_MAX,
  "grpc.max_send_message_length": MESSAGE_BYTES_MAX,
  "grpc.enable_retries": 0,
};
