/** What registration would say of a document of any kind, without a server. */
import type { Diagnostic } from "../dsl/diagnostic.ts";
import { otherKind } from "../dsl/document.ts";
import { parsePlaybook } from "../dsl/parse.ts";
import type { Playbook } from "../dsl/playbook.ts";
import { parseSchedule } from "../dsl/schedule.ts";
import { parseSubscription } from "../dsl/subscription.ts";
import type { ToolDescriptions } from "../dsl/tool-description.ts";
import { checkCron } from "./timing.ts";

export interface CheckedDocument {
  readonly kind: "playbook" | "schedule" | "subscription";
  /** Catalog path; absent when there are errors. */
  readonly path: string | undefined;
  /** In the order of the document. */
  readonly diagnostics: readonly Diagnostic[];
  /** Of a playbook without errors. */
  readonly playbook?: Playbook;
}

/** Never throws on any text. */
export function checkDocument(text: string, knownTools: ToolDescriptions): CheckedDocument {
  switch (otherKind(text)) {
    case "Schedule": {
      const { document, diagnostics } = parseSchedule(text, { checkCron });
      return { kind: "schedule", path: document?.path, diagnostics };
    }
    case "Subscription": {
      const { document, diagnostics } = parseSubscription(text);
      return { kind: "subscription", path: document?.path, diagnostics };
    }
    case undefined: {
      const { playbook, diagnostics } = parsePlaybook(text, { knownTools });
      return {
        kind: "playbook",
        path: playbook?.path,
        diagnostics,
        ...(playbook === undefined ? {} : { playbook }),
      };
    }
  }
}
