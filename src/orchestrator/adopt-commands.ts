/** Answers workers that have found containers of others: theirs now, nobody's, or not known yet. */
import { errorMessage } from "../core/errors.ts";
import type { WorkerId } from "../core/ids.ts";
import { isId } from "../core/ids.ts";
import type {
  AdoptionAnswer,
  AdoptionQuestion,
  GrantedCommand,
  LogLine,
} from "../engine/command.ts";
import type { AdoptionRow } from "../store/adopt.ts";
import { moveCommands } from "../store/adopt.ts";
import { databaseError } from "../store/sqlstate.ts";
import type { IntakeInput, Outcome } from "./intake.ts";
import type { OrchestratorOptions } from "./options.ts";

export type Adopt = (
  workerId: WorkerId,
  questions: readonly AdoptionQuestion[],
) => Promise<readonly AdoptionAnswer<GrantedCommand>[]>;

export interface AdoptOptions
  extends Pick<OrchestratorOptions, "bus" | "store" | "metrics" | "log"> {
  readonly submit: (input: IntakeInput) => Promise<Outcome>;
  readonly leaseMs: number;
  /** Silent for so long, a worker counts as dead. */
  readonly silentMs: number;
}

type Answer = AdoptionAnswer<GrantedCommand>;

const DISOWNED: Answer = { status: "disowned" };
/** Of a step's log: more than the limits of a task let through. */
const LINES_MAX = 100_000;
const INT4_MAX = 2 ** 31 - 1;

/**
 * First the row moves, so that nobody hands it out again; then the execution records who has it, and from then
 * on refuses what the worker before says. Asked again, because an answer was lost, it says the same.
 */
export function createAdoption(adoption: AdoptOptions): Adopt {
  const { store, metrics, submit, leaseMs, silentMs } = adoption;
  const record = async (workerId: WorkerId, row: AdoptionRow): Promise<Answer> => {
    if (row.status !== "moved") {
      return row;
    }
    const { executionId, commandId, attempt, payload, claimedAtMs, gpus } = row;
    const input = { kind: "adopt", commandId, attempt, workerId } as const;
    const { isStale } = await submit({ executionId, input });
    if (isStale) {
      return DISOWNED;
    }
    const loggedUntilMs = await findLastLine(adoption, row);
    const command = {
      ...{ executionId, commandId, attempt, payload, claimedAtMs },
      ...(gpus === null ? {} : { gpus }),
      ...(loggedUntilMs === undefined ? {} : { loggedUntilMs }),
    };
    return { status: "adopted", command };
  };
  return async (workerId, questions) => {
    const known = questions.filter(isAskable);
    try {
      const options = { workerId, leaseMs, silentMs };
      const rows = known.length === 0 ? [] : await moveCommands(store.durable, known, options);
      const answers = await Promise.all(rows.map((row) => record(workerId, row)));
      const byQuestion = new Map(known.map((question, n) => [question, answers[n] ?? DISOWNED]));
      return questions.map((question) => {
        const answer = byQuestion.get(question) ?? DISOWNED;
        metrics.adoptions.inc(answer.status);
        return answer;
      });
    } catch (error) {
      throw databaseError(error);
    }
  };
}

/** Undefined: there is none, or it cannot be said, and lines may come twice. */
async function findLastLine(
  { bus, log }: Pick<AdoptOptions, "bus" | "log">,
  { executionId, commandId, attempt, step }: Extract<AdoptionRow, { status: "moved" }>,
): Promise<number | undefined> {
  try {
    const { lines } = await bus.readLogs(executionId, { step, limit: LINES_MAX });
    const isItsOwn = (line: LogLine): boolean =>
      line.commandId === commandId && line.attempt === attempt && line.stream !== "system";
    return lines.findLast(isItsOwn)?.timeMs;
  } catch (error) {
    log.warn("cannot read where the log of a command ends", { error: errorMessage(error) });
    return undefined;
  }
}

/** False for what would make a statement fail that answers other questions too. */
function isAskable({ held }: AdoptionQuestion): boolean {
  const { executionId, commandId, attempt } = held;
  const isFence = Number.isInteger(attempt) && attempt > 0 && attempt <= INT4_MAX;
  return isFence && isId(executionId) && isId(commandId);
}
