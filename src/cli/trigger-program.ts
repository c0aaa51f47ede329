/** The commands about what starts executions: `schedule`, `subscription`, `webhook`. */
import type { Command, CommandUnknownOpts } from "@commander-js/extra-typings";
import { clientOptions } from "../config/tables.ts";
import type { Api } from "./api.ts";
import type { CliContext, ExitReason } from "./context.ts";
import { addFlags, example } from "./flags.ts";

export interface TriggerProgram {
  readonly context: CliContext;
  readonly apiOf: (flags: object) => Api;
  readonly finish: (reason: ExitReason) => void;
}

export function addTriggerCommands(program: Command, parts: TriggerProgram): void {
  const schedule = program
    .command("schedule")
    .description("Schedules: when to start which playbook.");
  addScheduleDefinitions(schedule, parts);
  addScheduleActions(schedule, parts);
  addScheduleViews(schedule, parts);
  const subscription = program
    .command("subscription")
    .description("Subscriptions: messages that start playbooks. `noetl register` adds them.");
  addSubscriptionCommands(subscription, parts);
  addWebhookCommands(
    program.command("webhook").description("Webhooks: calls from outside that start playbooks."),
    parts,
  );
}

function addScheduleDefinitions(schedule: CommandUnknownOpts, parts: TriggerProgram): void {
  const { context, apiOf, finish } = parts;
  const add = schedule
    .command("add")
    .argument("<name>", "unique among schedules")
    .description("Add a schedule. The same as a document of kind Schedule.")
    .requiredOption("--playbook <path>", "catalog path of the playbook")
    .option("--cron <expression>", "five fields (six with seconds), @hourly, @daily, …")
    .option("--interval <duration>", "instead of --cron, such as 30s, 5m, 2h")
    .option("--timezone <name>", "zone of --cron, such as Europe/Berlin; default UTC")
    .option("--payload <json>", "inputs; texts may be templates that see schedule.due")
    .option("--input <file>", "file with such an object")
    .option("--set <key=value...>", "one input; the value may be JSON")
    .option("--version <n>", "version of the playbook; default the latest")
    .option("--start-at <time>", "no due times before")
    .option("--end-at <time>", "no due times from then on")
    .option("--jitter <duration>", "each firing waits a random time below this")
    .option("--catchup <how>", "of missed due times: none, last (default) or all")
    .option("--catchup-limit <n>", "of all: the newest so many; default 100")
    .option("--overlap <how>", "allow (default), skip, queue or cancel_previous")
    .option("--execution-pool <name>", "pool of steps that name none")
    .option("--priority <n>", "0 (last) to 9 (first)")
    .option("--description <text>", "for people")
    .option("--paused", "do not fire before `resume`")
    .option("--replace", "change the schedule of that name")
    .option("--json", "print JSON")
    .action(async (name, flags) => {
      const { addSchedule } = await import("./schedule-commands.ts");
      finish(await addSchedule(context, apiOf(flags), name, flags));
    });
  addFlags(add, clientOptions);
  example(
    add,
    'noetl schedule add nightly --playbook etl/load --cron "0 2 * * *" --timezone Europe/Berlin',
    "noetl schedule add poll --playbook etl/poll --interval 5m --overlap skip --set source=eu",
  );

  const remove = schedule
    .command("delete")
    .argument("<name>", "name or id")
    .description("Delete a schedule and its history; executions stay.")
    .option("--json", "print JSON")
    .action(async (name, flags) => {
      const { deleteSchedule } = await import("./schedule-commands.ts");
      finish(await deleteSchedule(context, apiOf(flags), name, flags));
    });
  addFlags(remove, clientOptions);
}

const CHANGES = {
  pause: "Let due times pass; what waits for its turn is skipped.",
  resume: "Go on with the next due time; those of the pause are not caught up.",
} as const;

function addScheduleActions(schedule: CommandUnknownOpts, parts: TriggerProgram): void {
  const { context, apiOf, finish } = parts;
  for (const action of ["pause", "resume"] as const) {
    const command = schedule
      .command(action)
      .argument("<name>", "name or id")
      .description(CHANGES[action])
      .option("--json", "print JSON")
      .action(async (name, flags) => {
        const { changeSchedule } = await import("./schedule-commands.ts");
        finish(await changeSchedule(context, apiOf(flags), { name, action }, flags));
      });
    addFlags(command, clientOptions);
  }

  const run = schedule
    .command("run")
    .argument("<name>", "name or id")
    .description("Start an execution now, whatever runs.")
    .option("--payload <json>", "inputs instead of the schedule's")
    .option("--input <file>", "file with such an object")
    .option("--set <key=value...>", "one input; the value may be JSON")
    .option("-w, --wait", "show it to its end, and end as it does")
    .option("--json", "print JSON")
    .action(async (name, flags) => {
      const { runSchedule } = await import("./schedule-commands.ts");
      finish(await runSchedule(context, apiOf(flags), name, flags));
    });
  addFlags(run, clientOptions);
  example(run, "noetl schedule run nightly --wait");

  const backfill = schedule
    .command("backfill")
    .argument("<name>", "name or id")
    .description("Meet due times of the past that nothing was started for.")
    .requiredOption("--from <time>", "first due time, such as 2026-01-01 or 2026-01-01T06:00:00Z")
    .requiredOption("--to <time>", "due times before")
    .option("--dry-run", "only list the due times")
    .option("--json", "print JSON")
    .action(async (name, flags) => {
      const { backfillSchedule } = await import("./schedule-commands.ts");
      finish(await backfillSchedule(context, apiOf(flags), name, flags));
    });
  addFlags(backfill, clientOptions);
  example(backfill, "noetl schedule backfill nightly --from 2026-01-01 --to 2026-02-01 --dry-run");
}

function addScheduleViews(schedule: CommandUnknownOpts, parts: TriggerProgram): void {
  const { context, apiOf, finish } = parts;
  const list = schedule
    .command("list")
    .description("List the schedules.")
    .option("--json", "print JSON")
    .action(async (flags) => {
      const { list: show } = await import("./catalog-commands.ts");
      finish(await show(context, apiOf(flags), "schedules", flags));
    });
  addFlags(list, clientOptions);

  const get = schedule
    .command("get")
    .argument("<name>", "name or id")
    .description("Show a schedule.")
    .option("--json", "print JSON")
    .action(async (name, flags) => {
      const { getSchedule } = await import("./schedule-commands.ts");
      finish(await getSchedule(context, apiOf(flags), name, flags));
    });
  addFlags(get, clientOptions);

  const next = schedule
    .command("next")
    .argument("<name>", "name or id")
    .description("Show the next due times.")
    .option("--count <n>", "so many; default 5")
    .option("--json", "print JSON")
    .action(async (name, flags) => {
      const { nextTimes } = await import("./schedule-commands.ts");
      finish(await nextTimes(context, apiOf(flags), name, flags));
    });
  addFlags(next, clientOptions);

  const history = schedule
    .command("history")
    .argument("<name>", "name or id")
    .description("Show what became of its due times, newest first.")
    .option("--status <name>", "waiting, started, skipped or failed")
    .option("--limit <n>", "so many at most; default 20")
    .option("--json", "print JSON")
    .action(async (name, flags) => {
      const { scheduleHistory } = await import("./schedule-commands.ts");
      finish(await scheduleHistory(context, apiOf(flags), name, flags));
    });
  addFlags(history, clientOptions);
}

const ACTIONS = {
  activate: "Take messages.",
  pause: "Take no messages for a while.",
  resume: "Take messages again after a pause.",
  drain: "Take no messages, dispatch what was accepted, then be inactive.",
  deactivate: "Take no messages.",
} as const;

function addSubscriptionCommands(subscription: CommandUnknownOpts, parts: TriggerProgram): void {
  const { context, apiOf, finish } = parts;
  const list = subscription
    .command("list")
    .description("List the subscriptions.")
    .option("--json", "print JSON")
    .action(async (flags) => {
      const { list: show } = await import("./catalog-commands.ts");
      finish(await show(context, apiOf(flags), "subscriptions", flags));
    });
  addFlags(list, clientOptions);

  const get = subscription
    .command("get")
    .argument("<path>", "path or id")
    .description("Show a subscription: its state, who holds it, what is wrong.")
    .option("--json", "print JSON")
    .action(async (key, flags) => {
      const { getSubscription } = await import("./subscription-commands.ts");
      finish(await getSubscription(context, apiOf(flags), key, flags));
    });
  addFlags(get, clientOptions);

  for (const [action, description] of Object.entries(ACTIONS)) {
    const command = subscription
      .command(action)
      .argument("<path>", "path or id")
      .description(description)
      .option("--json", "print JSON")
      .action(async (key, flags) => {
        const { changeSubscription } = await import("./subscription-commands.ts");
        finish(await changeSubscription(context, apiOf(flags), { key, action }, flags));
      });
    addFlags(command, clientOptions);
  }

  const remove = subscription
    .command("delete")
    .argument("<path>", "path or id")
    .description("Delete a subscription with its dead letters.")
    .option("--json", "print JSON")
    .action(async (key, flags) => {
      const { deleteSubscription } = await import("./subscription-commands.ts");
      finish(await deleteSubscription(context, apiOf(flags), key, flags));
    });
  addFlags(remove, clientOptions);

  const letters = subscription
    .command("dead-letters")
    .argument("<path>", "path or id")
    .description("Messages that could not be dispatched: list, dispatch again, delete.")
    .option("--replay [id]", "dispatch this one again; without id all of them")
    .option("--delete <id>", "delete this one")
    .option("--limit <n>", "so many at most; default 20")
    .option("--json", "print JSON")
    .action(async (key, flags) => {
      const { deadLetters } = await import("./subscription-commands.ts");
      finish(await deadLetters(context, apiOf(flags), key, flags));
    });
  addFlags(letters, clientOptions);
  example(
    letters,
    "noetl subscription dead-letters orders",
    "noetl subscription dead-letters orders --replay",
  );
}

function addWebhookCommands(webhook: CommandUnknownOpts, parts: TriggerProgram): void {
  const { context, apiOf, finish } = parts;
  const add = webhook
    .command("add")
    .argument("<path>", "behind /hooks/, such as github/push")
    .description(
      "Add a hook that starts a playbook. The same as a subscription with source webhook.",
    )
    .requiredOption("--playbook <path>", "catalog path of the playbook")
    .requiredOption("--verify <type>", "hmac_sha256 (signed body) or bearer (token)")
    .requiredOption("--credential <name>", "credential with the secret")
    .option("--header <name>", "of the signature; default X-Hub-Signature-256 with prefix sha256=")
    .option("--prefix <text>", "in front of the signature")
    .option("--timestamp-header <name>", "header with a signed time")
    .option(
      "--filter <expression>",
      "only calls for which it holds, such as data.action == 'opened'",
    )
    .option("--payload-from <expression>", "inputs; default the body")
    .option("--dedup-header <name>", "calls with the same value start one execution")
    .option("--execution-pool <name>", "pool of steps that name none")
    .option("--json", "print JSON")
    .action(async (path, flags) => {
      const { addWebhook } = await import("./subscription-commands.ts");
      finish(await addWebhook(context, apiOf(flags), path, flags));
    });
  addFlags(add, clientOptions);
  example(
    add,
    "noetl webhook add github/push --playbook ci/build --verify hmac_sha256 --credential github \\",
    "  --dedup-header X-GitHub-Delivery",
  );
}
