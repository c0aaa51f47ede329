/** `bun run docs`: writes the table of options into README.md. A unit test checks that it is current. */
import { join } from "node:path";
import { withReference } from "../src/config/reference.ts";
import { ROLES } from "../src/config/tables.ts";

const path = join(import.meta.dir, "../README.md");
await Bun.write(path, withReference(await Bun.file(path).text(), ROLES));
