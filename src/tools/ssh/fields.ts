/** Fields of the tools that work on other machines. */
import type { ToolFields } from "../../dsl/tool-description.ts";

export const SSH_FIELDS: ToolFields = {
  host: { type: "scalar", about: "the other machine" },
  port: { type: "integer", about: "its port", default: 22, minimum: 1 },
  user: { type: "scalar", about: "who logs in" },
  private_key: { type: "text", about: "text of a private key; better in a credential" },
  passphrase: { type: "scalar", about: "of that key" },
  password: { type: "scalar", about: "in place of a key; only for a host whose key is checked" },
  known_hosts: { type: "text", about: "lines of a known_hosts file", default: "the worker's" },
  host_key: { type: "text", about: "the host's key, in place of known_hosts" },
  strict_host_key_checking: {
    type: ["boolean", "text"],
    about: "false: any host key will do",
    default: true,
  },
  credential: { type: ["text", "list", "map"], about: "older name of `auth`" },
};

export const SSH_FAILURES: Readonly<Record<string, string>> = {
  connection: "a host that cannot be reached",
  auth: "a login or host key that is refused",
};
