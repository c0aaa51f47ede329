/**
 * Logs of the platform itself: one line per fact, `time level msg component` and then fields. The
 * message is constant text, what varies goes into fields. `error` means that a person must act,
 * `warn` that something went wrong and healed. Never row contents or secrets.
 */

export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/**
 * JSON-safe values, Errors and bigints by name, which is written in snake case whatever its case here. The reserved
 * names are the logger's own.
 */
export interface LogFields {
  readonly time?: never;
  readonly level?: never;
  readonly msg?: never;
  readonly [name: string]: unknown;
}

export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** True if lines of this level are written: guards fields that are costly to build. */
  isEnabled(level: LogLevel): boolean;
  /** A logger whose lines carry these fields too; `component` replaces the parent's. */
  child(fields: LogFields): Logger;
  /** Lines so far by level, of all its children too. */
  readonly written: Readonly<Record<LogLevel, number>>;
}

export interface LoggerOptions {
  /** Lowest level that is written. */
  readonly level: LogLevel;
  /** `json` for machines, `text` for people at a terminal. */
  readonly format: "json" | "text";
  /** What writes: `server`, `worker`, `relay`, … */
  readonly component: string;
  /** Takes one line with its newline; default: standard output. */
  readonly write?: (line: string) => void;
  /** Colours in `text`; default false. */
  readonly hasColor?: boolean;
  /** Milliseconds since 1970; default: the clock. */
  readonly now?: () => number;
}

type Write = (level: LogLevel, message: string, fields: LogFields | undefined) => void;

const noop = (): void => undefined;

/** Levels below `options.level` cost one call of an empty function. */
export function createLogger(options: LoggerOptions): Logger {
  const write = options.write ?? ((line: string) => void process.stdout.write(line));
  const now = options.now ?? Date.now;
  const format = options.format === "json" ? jsonLine : textLine(options.hasColor ?? false);
  const written = { debug: 0, info: 0, warn: 0, error: 0 };
  const root = { ...options, written };
  return build(root, { component: options.component }, (level, message, fields) => {
    written[level]++;
    write(`${format(now(), level, message, fields ?? {})}\n`);
  });
}

type Root = LoggerOptions & Pick<Logger, "written">;

function build(options: Root, bound: LogFields, write: Write): Logger {
  const lowest = LOG_LEVELS.indexOf(options.level);
  const isEnabled = (level: LogLevel): boolean => LOG_LEVELS.indexOf(level) >= lowest;
  const method = (level: LogLevel): ((message: string, fields?: LogFields) => void) =>
    isEnabled(level) ? (message, fields) => write(level, message, { ...bound, ...fields }) : noop;
  return {
    debug: method("debug"),
    info: method("info"),
    warn: method("warn"),
    error: method("error"),
    isEnabled,
    written: options.written,
    child: (fields) => build(options, { ...bound, ...fields }, write),
  };
}

type Format = (timeMs: number, level: LogLevel, message: string, fields: LogFields) => string;

const jsonLine: Format = (timeMs, level, message, fields) => {
  const { component, ...rest } = fields;
  const head = { time: new Date(timeMs).toISOString(), level, msg: message, component };
  try {
    return JSON.stringify({ ...head, ...flat(rest) }, plain);
  } catch (error) {
    return JSON.stringify({ ...head, log_error: String(error) });
  }
};

/** Errors become texts under names of their own, so that each field has one type. */
function flat(fields: LogFields): Record<string, unknown> {
  const line: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(fields)) {
    const name = snakeCase(key);
    if (value instanceof Error) {
      Object.assign(line, describe(name, value));
    } else {
      line[name] = value;
    }
  }
  return line;
}

const SNAKE = new Map<string, string>();

function snakeCase(name: string): string {
  let found = SNAKE.get(name);
  if (found === undefined) {
    found = name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    SNAKE.set(name, found);
  }
  return found;
}

function describe(name: string, error: Error): Readonly<Record<string, unknown>> {
  const { cause } = error;
  return {
    [name]: error.message,
    [`${name}_name`]: error.name,
    ...("code" in error ? { [`${name}_code`]: error.code } : {}),
    [`${name}_stack`]: error.stack,
    ...(cause === undefined ? {} : { [`${name}_cause`]: String(cause) }),
  };
}

/** What JSON has no form for. */
function plain(_key: string, value: unknown): unknown {
  if (value instanceof Error) {
    return `${value.name}: ${value.message}`;
  }
  return typeof value === "bigint" ? value.toString() : value;
}

const COLORS: Readonly<Record<LogLevel, string>> = {
  debug: "\x1b[90m",
  info: "\x1b[36m",
  warn: "\x1b[33m",
  error: "\x1b[31m",
};

function textLine(hasColor: boolean): Format {
  const paint = (color: string, text: string): string =>
    hasColor ? `${color}${text}\x1b[0m` : text;
  return (timeMs, level, message, { component, ...fields }) => {
    const time = new Date(timeMs).toISOString().slice(11, 23);
    const head = `${time} ${paint(COLORS[level], level.toUpperCase().padEnd(5))} ${component}`;
    const tail = Object.entries(fields).flatMap(([name, value]) =>
      value === undefined ? [] : [` ${snakeCase(name)}=${inline(value)}`],
    );
    return `${head}  ${message}${paint("\x1b[90m", tail.join(""))}`;
  };
}

function inline(value: unknown): string {
  if (value instanceof Error) {
    return JSON.stringify(`${value.name}: ${value.message}`);
  }
  if (typeof value === "string") {
    return /^[\w.:/@-]+$/.test(value) ? value : JSON.stringify(value);
  }
  try {
    return JSON.stringify(value, plain) ?? "undefined";
  } catch {
    // A cyclic value: a log line must never be what fails.
    return String(value);
  }
}
