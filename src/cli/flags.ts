/** Turns a table of options into flags of a command. Defaults and checks stay with the table. */
import type { CommandUnknownOpts } from "@commander-js/extra-typings";
import { Option as Flag } from "@commander-js/extra-typings";
import type { Option, OptionTable } from "../config/option.ts";
import { envName, flagName } from "../config/read.ts";

/** Options without a flag are not shown: README.md lists them. */
export function addFlags(command: CommandUnknownOpts, table: OptionTable): void {
  for (const [key, option] of Object.entries(table)) {
    if (option.hasFlag) {
      command.addOption(flagOf(key, option));
    }
  }
}

export function example(command: CommandUnknownOpts, ...lines: readonly string[]): void {
  command.addHelpText("after", `\nExamples:\n${lines.map((line) => `  ${line}`).join("\n")}`);
}

function flagOf(key: string, option: Option<unknown>): Flag {
  const value = option.placeholder === "" ? "" : ` <${option.placeholder}>`;
  const notes = [`env ${envName(key, option)}`];
  if (option.default !== undefined && option.default !== "" && option.placeholder !== "") {
    notes.push(`default ${option.default}`);
  }
  const flag = new Flag(`${flagName(key)}${value}`, `${option.description} (${notes.join(", ")})`);
  return key === "pool" && option.default !== undefined ? flag.argParser(collect) : flag;
}

function collect(value: string, earlier: unknown): readonly string[] {
  return Array.isArray(earlier) ? [...earlier.map(String), value] : [value];
}
