/**
 * Secrets that tasks need while those who hand them out are killed: a credential, and a token that is
 * fetched, cached and soon over. None of them is ever to be seen in what the platform keeps.
 */
import { arcs, RETRY, same } from "../playbook.ts";
import type { Sink } from "../sink.ts";
import { CLIENT_SECRET, STATIC_TOKEN, TOKEN_PREFIX } from "../sink.ts";
import type { Problems, Workload, World } from "../workload.ts";

const CREDENTIAL = "chaos_bearer";

export function keychain(sink: Sink): Workload {
  const entry = {
    name: "api",
    kind: "oauth2",
    scope: "global",
    auto_renew: true,
    endpoint: `${sink.url}/token`,
    data: { grant_type: "client_credentials", client_id: "chaos", client_secret: CLIENT_SECRET },
  };
  const url = `${sink.url}/protected`;
  const workflow = [
    {
      step: "by_token",
      tool: {
        kind: "http",
        url,
        headers: { Authorization: "Bearer {{ keychain.api.token }}" },
        spec: RETRY,
      },
      ...arcs(["by_credential"]),
    },
    {
      step: "by_credential",
      tool: { kind: "http", url, auth: CREDENTIAL, spec: RETRY },
      ...arcs(["tell"]),
    },
    {
      step: "tell",
      tool: {
        kind: "python",
        input: { token: "{{ keychain.api.token }}" },
        code: `print(token)\nresult = {"token": token, "isOne": token[:4] == "tok-"}`,
        spec: RETRY,
      },
    },
  ];
  return {
    name: "keychain",
    weight: 2,
    playbooks: [{ path: "chaos/keychain", keychain: [entry], workflow }],
    ends: ["COMPLETED"],
    prepare: async ({ client }) => {
      const data = { token: STATIC_TOKEN };
      await client.call("POST", "/api/credentials", { name: CREDENTIAL, type: "bearer", data });
    },
    verify: ({ results }) => [
      ...same("by_token", Object(results["by_token"]).data, { answer: 42 }),
      ...same("by_credential", Object(results["by_credential"]).data, { answer: 42 }),
      ...same("tell", Object(results["tell"]).isOne, true),
    ],
    check: findSecrets,
  };
}

async function findSecrets({ sql }: World): Promise<Problems> {
  const patterns = [TOKEN_PREFIX, STATIC_TOKEN].map((secret) => `%${secret}%`);
  const rows = await sql<{ what: string }>(
    (db) => db`
      SELECT format('%s: a secret is in event %s, %s of %s', execution_id, v.seq, v.type, v.step) AS what
      FROM noetl.event v JOIN noetl.execution USING (execution_id)
      WHERE path = 'chaos/keychain' AND v.type <> 'playbook.started'
        AND v.payload::text LIKE ANY (${patterns})`,
  );
  return rows.map(({ what }) => what);
}
