/**
 * `bun run docs`: writes the tables of options, of the language, of tools, of their tests and of metrics into
 * the README.md of those who have them. Unit tests check that they are current.
 */
import { join } from "node:path";
import { withReference } from "../src/config/reference.ts";
import { ROLES } from "../src/config/tables.ts";
import { withLogFields } from "../src/observability/log-fields.ts";
import { withMetrics } from "../src/observability/metrics-table.ts";
import { withLanguage } from "../test/unit/dsl/language/table.ts";
import { withMatrix } from "../test/unit/tools/matrix-table.ts";
import { withTools } from "../test/unit/tools/reference.ts";

const path = join(import.meta.dir, "../README.md");
await Bun.write(path, withReference(await Bun.file(path).text(), ROLES));

const language = join(import.meta.dir, "../src/dsl/README.md");
await Bun.write(language, withLanguage(await Bun.file(language).text()));

const tools = join(import.meta.dir, "../src/tools/README.md");
const example = join(import.meta.dir, "../test/fixtures/tools/checksum.ts");
await Bun.write(tools, withTools(await Bun.file(tools).text(), await Bun.file(example).text()));

const tests = join(import.meta.dir, "../test/README.md");
await Bun.write(tests, withMatrix(await Bun.file(tests).text()));

const observability = join(import.meta.dir, "../src/observability/README.md");
const described = withMetrics(withLogFields(await Bun.file(observability).text()));
await Bun.write(observability, described);
