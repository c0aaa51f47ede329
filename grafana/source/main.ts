/**
 * `bun run grafana [--runbooks ADDRESS]`: writes the dashboards, the provisioning and the rules of vmalert.
 *
 * `--runbooks https://…/deploy/docs/alerts`: where the pages of the alerts are to be read.
 */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { makeFiles } from "./files.ts";

const { values } = parseArgs({ options: { runbooks: { type: "string" } } });
const files = makeFiles(values.runbooks === undefined ? {} : { runbooks: values.runbooks });
for (const [path, text] of files) {
  await Bun.write(join(import.meta.dir, "../..", path), text);
  console.log(path);
}
