/** `noetl validate`: what registration would say of documents, without a server. */
import type { Json } from "../core/json.ts";
import type { Diagnostic } from "../dsl/diagnostic.ts";
import { readTestFile } from "../testing/read-test.ts";
import { TEST_FILE } from "../testing/test-case.ts";
import { KNOWN_TOOL_KINDS } from "../tools/registry.ts";
import { checkDocument } from "../triggers/check-document.ts";
import type { CliContext, ExitReason } from "./context.ts";
import { countDiagnostics, formatDiagnostic, plural } from "./diagnostics.ts";
import { expandPaths } from "./files.ts";
import { formatJson } from "./format.ts";
import { readText } from "./payload.ts";

export interface ValidateFlags {
  /** Warnings count as errors. */
  readonly strict?: boolean | undefined;
  readonly json?: boolean | undefined;
}

interface CheckedFile {
  readonly file: string;
  readonly text: string;
  readonly kind: string;
  readonly path: string | undefined;
  readonly diagnostics: readonly Diagnostic[];
}

export async function validate(
  context: CliContext,
  paths: readonly string[],
  flags: ValidateFlags,
): Promise<ExitReason> {
  const files: CheckedFile[] = [];
  for (const file of await expandPaths(paths, "**/*.{yaml,yml}")) {
    files.push(checkFile(file, await readText(file)));
  }
  const checked = files.map((file) => withDuplicates(file, files));
  const all = checked.flatMap(({ diagnostics }) => diagnostics);
  const isBad = all.some(({ severity }) => severity === "error" || flags.strict === true);
  if (flags.json === true) {
    context.out(formatJson(checked.map(toJson)));
  } else {
    printFiles(context, checked, isBad);
  }
  return isBad ? "failed" : "ok";
}

function checkFile(file: string, text: string): CheckedFile {
  if (TEST_FILE.test(file)) {
    const { diagnostics } = readTestFile(text);
    return { file, text, kind: "test", path: undefined, diagnostics };
  }
  const { kind, path, diagnostics } = checkDocument(text, KNOWN_TOOL_KINDS);
  return { file, text, kind, path, diagnostics };
}

/** Two files that register the same path would be versions of one document. */
function withDuplicates(checked: CheckedFile, files: readonly CheckedFile[]): CheckedFile {
  const { path, file } = checked;
  const other = files.find((each) => each.path === path && each.file !== file);
  if (path === undefined || other === undefined) {
    return checked;
  }
  const duplicate: Diagnostic = {
    severity: "warning",
    code: "PATH_DUPLICATE",
    message: `${other.file} has the path ${path} too: they would be versions of one document`,
    path: "metadata",
    line: 1,
    column: 1,
  };
  return { ...checked, diagnostics: [...checked.diagnostics, duplicate] };
}

function printFiles({ out }: CliContext, files: readonly CheckedFile[], isBad: boolean): void {
  for (const { file, text, diagnostics } of files) {
    for (const diagnostic of diagnostics) {
      out(formatDiagnostic(file, text, diagnostic));
    }
  }
  const all = files.flatMap(({ diagnostics }) => diagnostics);
  const verdict = isBad ? "not valid" : "valid";
  out(`${plural(files.length, "document")}: ${verdict}; ${countDiagnostics(all)}`);
}

function toJson({ file, kind, path, diagnostics }: CheckedFile): Json {
  const isValid = diagnostics.every(({ severity }) => severity !== "error");
  return {
    file,
    kind,
    path: path ?? null,
    valid: isValid,
    diagnostics: diagnostics.map((each) => ({ ...each })),
  };
}
