/** Completion scripts, made from the commands themselves. */
import type { CommandUnknownOpts } from "@commander-js/extra-typings";

export const COMPLETION_SHELLS = ["bash", "zsh", "fish"] as const;
export type CompletionShell = (typeof COMPLETION_SHELLS)[number];

interface Entry {
  /** `worker list`; "" for the program itself. */
  readonly path: string;
  readonly commands: readonly string[];
  readonly flags: readonly string[];
}

export function completionScript(program: CommandUnknownOpts, shell: CompletionShell): string {
  const entries = collect(program, []);
  return { bash: bashScript, zsh: zshScript, fish: fishScript }[shell](entries);
}

function collect(command: CommandUnknownOpts, path: readonly string[]): readonly Entry[] {
  const own: Entry = {
    path: path.join(" "),
    commands: visible(command).map((child) => child.name()),
    flags: [...command.options.flatMap(({ long }) => long ?? []), "--help"],
  };
  return [own, ...visible(command).flatMap((child) => collect(child, [...path, child.name()]))];
}

/** Without those that are only understood; and `help`, which every command has by a flag. */
function visible(command: CommandUnknownOpts): readonly CommandUnknownOpts[] {
  const shown = new Set(command.createHelp().visibleCommands(command));
  return command.commands.filter((child) => shown.has(child));
}

/** The longest path of commands that the words begin with decides; arguments are passed over. */
function bashScript(entries: readonly Entry[]): string {
  const cases = entries.map(
    ({ path, commands, flags }) =>
      `    "${path}") words="${[...commands, ...flags].join(" ")}"; return 0 ;;`,
  );
  return `# bash completion for noetl
_noetl_words() {
  case "$1" in
${cases.join("\n")}
  esac
  return 1
}
_noetl() {
  local cur="\${COMP_WORDS[COMP_CWORD]}" path="" next word words=""
  _noetl_words ""
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    next="\${path:+$path }$word"
    _noetl_words "$next" && path="$next"
  done
  COMPREPLY=($(compgen -W "$words" -- "$cur") $(compgen -f -- "$cur"))
}
complete -o filenames -F _noetl noetl`;
}

function zshScript(entries: readonly Entry[]): string {
  return `#compdef noetl
autoload -U +X bashcompinit && bashcompinit
${bashScript(entries)}`;
}

function fishScript(entries: readonly Entry[]): string {
  const lines = entries.flatMap(({ path, commands, flags }) => {
    const when = path === "" ? "__fish_use_subcommand" : `__fish_seen_subcommand_from ${path}`;
    return [
      ...commands.map((name) => `complete -c noetl -n "${when}" -a ${name}`),
      ...flags.map((flag) => `complete -c noetl -n "${when}" -l ${flag.slice(2)}`),
    ];
  });
  return ["# fish completion for noetl", ...lines].join("\n");
}
