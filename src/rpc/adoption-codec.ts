/** Between the wire and the domain: questions about containers that were found, and their answers. */
import { unreachable } from "../core/assert.ts";
import type {
  AdoptionAnswer,
  AdoptionQuestion,
  GrantedCommand,
  HeldCommand,
} from "../engine/command.ts";
import { decodeClaimed, decodeHeld, encodeClaimed, encodeHeld } from "./codec.ts";
import type * as wire from "./generated/noetl/v1/worker.ts";
import { invalid, toWorkerId } from "./wire-value.ts";

/** In one message; a worker asks about the others with the next. */
export const QUESTIONS_MAX = 500;

export function encodeQuestion({
  held,
  ownerId,
  isOwnerDead,
  isReusable,
}: AdoptionQuestion): wire.AdoptionQuestion {
  return { command: encodeHeld(held), ownerId, isOwnerDead, isReusable };
}

/** @throws AppError `invalid`. */
export function decodeQuestions(
  questions: readonly wire.AdoptionQuestion[],
): readonly AdoptionQuestion[] {
  if (questions.length > QUESTIONS_MAX) {
    throw invalid(`questions has more than ${QUESTIONS_MAX} entries`);
  }
  return questions.map(({ command, ownerId, isOwnerDead, isReusable }) => ({
    held: decodeHeld(command),
    ownerId: toWorkerId(ownerId),
    isOwnerDead,
    isReusable,
  }));
}

export function encodeAnswer(answer: AdoptionAnswer<GrantedCommand>): wire.AdoptionAnswer {
  switch (answer.status) {
    case "adopted": {
      const { command } = answer;
      return { answer: { $case: "adopted", value: encodeClaimed(command, command.commandId) } };
    }
    case "disowned":
    case "later":
      return { answer: { $case: answer.status, value: true } };
    default:
      return unreachable(answer);
  }
}

/** An answer that this version does not know is no reason to end a container. */
export function decodeAnswer(held: HeldCommand, { answer }: wire.AdoptionAnswer): AdoptionAnswer {
  switch (answer?.$case) {
    case "adopted":
      return { status: "adopted", command: decodeClaimed(held.commandId, answer.value) };
    case "disowned":
      return { status: "disowned" };
    case "later":
    case undefined:
      return { status: "later" };
    default:
      return unreachable(answer);
  }
}
