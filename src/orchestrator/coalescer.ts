/**
 * Many small questions as few big ones: what is asked while an answer is under way goes together
 * into the next statement. Nothing waits when nothing is under way.
 */

export interface CoalescerOptions {
  /** Questions in one call at most. */
  readonly max: number;
  /** Calls under way at most. */
  readonly concurrency: number;
}

interface Waiting<Question, Answer> {
  readonly question: Question;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * @param ask gives one answer per question, in order. When it rejects, so do all its questions.
 */
export function createCoalescer<Question, Answer>(
  ask: (questions: readonly Question[]) => Promise<readonly Answer[]>,
  { max, concurrency }: CoalescerOptions,
): (question: Question) => Promise<Answer> {
  const waiting: Waiting<Question, Answer>[] = [];
  let active = 0;
  let isScheduled = false;

  const run = async (batch: readonly Waiting<Question, Answer>[]): Promise<void> => {
    try {
      const answers = await ask(batch.map(({ question }) => question));
      for (const [index, { resolve }] of batch.entries()) {
        resolve(answers[index] as Answer);
      }
    } catch (error) {
      for (const { reject } of batch) {
        reject(error);
      }
    }
    active--;
    pump();
  };
  const pump = (): void => {
    isScheduled = false;
    while (active < concurrency && waiting.length > 0) {
      active++;
      void run(waiting.splice(0, max));
    }
  };
  return (question) =>
    new Promise((resolve, reject) => {
      waiting.push({ question, resolve, reject });
      if (!isScheduled) {
        isScheduled = true;
        setImmediate(pump);
      }
    });
}
