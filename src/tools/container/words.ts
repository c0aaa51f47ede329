/** Command lines as texts. */

/** What only a shell can do: variables, pipes, redirections, patterns, several commands. */
const SHELL_SIGNS = /[;&|<>$`(){}\n*?[\]~#!]/;
const ASSIGNMENT = /^\s*\w+=/;
const WORD_PART = /\s+|'([^']*)'|"((?:[^"\\]|\\[\s\S])*)"|\\([\s\S])|([^\s'"\\]+)/gy;

/** Undefined: a quote is left open. */
export function splitWords(text: string): readonly string[] | undefined {
  const words: string[] = [];
  let word: string | undefined;
  let end = 0;
  for (const match of text.trim().matchAll(WORD_PART)) {
    end = match.index + match[0].length;
    const [all, single, double, escaped, plain] = match;
    const part = single ?? double?.replaceAll(/\\(["\\$`])/g, "$1") ?? escaped ?? plain;
    if (part === undefined && /^\s/.test(all)) {
      words.push(...(word === undefined ? [] : [word]));
      word = undefined;
    } else {
      word = (word ?? "") + (part ?? "");
    }
  }
  return end === text.trim().length ? [...words, ...(word === undefined ? [] : [word])] : undefined;
}

/**
 * The words that run a command line in a container, as a shell would run it. A single command without
 * variables and such needs no shell, so it gets the signals itself and runs in images that have none; all else
 * is given to `/bin/sh -c`.
 *
 * @param args become `"$@"` of what a shell runs.
 */
export function commandLine(text: string, args: readonly string[]): readonly string[] {
  const words = isSimple(text) ? splitWords(text) : undefined;
  return words === undefined || words.length === 0
    ? ["/bin/sh", "-c", text, ...(args.length === 0 ? [] : ["sh", ...args])]
    : [...words, ...args];
}

function isSimple(text: string): boolean {
  const bare = text.replaceAll(/'[^']*'/g, "");
  return !SHELL_SIGNS.test(bare.trim()) && !ASSIGNMENT.test(text);
}
