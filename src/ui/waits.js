/** Why an execution does not go on, and what can be done: waits, signals, queues, pools without room. */
import { post } from "./client.js";
import { ask, checkField, jsonField, notify, textField } from "./dialog.js";
import { formatMib, plural } from "./format.js";
import { bodyWith } from "./json-text.js";
import { h, liveTime } from "./view.js";

/** A payload that people can start from. */
const APPROVAL = '{\n  "approved": true\n}';

/**
 * Reasons of `status` (what `/status` answers), open `commands` and `pools`: a list of `{kind, …}`.
 * Pure.
 */
export function reasonsToWait({ status, commands = [], pools = [] }) {
  const queue = status.concurrency?.is_queued
    ? [{ kind: "queue", ...status.concurrency, text: status.waiting_reason }]
    : [];
  const waits = (status.waiting ?? []).map((wait) => ({ ...wait, kind: "wait", by: wait.kind }));
  return [...queue, ...waits, ...gpuReasons(commands, pools), ...poolReasons(commands, pools)];
}

/** A command that wants GPUs says itself what it waits for, once a worker has asked for it. */
const waitsForGpus = ({ status, waiting_reason: reason }) => status === "queued" && Boolean(reason);

/** By pool and reason, where there is a worker. */
function gpuReasons(commands, pools) {
  const waiting = commands.filter((each) => waitsForGpus(each) && hasWorkers(pools, each.pool));
  const groups = Map.groupBy(waiting, ({ pool, waiting_reason: text }) => `${pool} ${text}`);
  return [...groups.values()].map((all) => ({
    kind: "gpu",
    pool: all[0].pool,
    count: all.length,
    steps: [...new Set(all.map(({ step }) => step))],
    text: all[0].waiting_reason,
  }));
}

const hasWorkers = (pools, name) => pools.find((each) => each.name === name)?.workers > 0;

/** Commands at a worker that hold GPUs: `{step, index, gpus, pool}`. Pure. */
export function gpuHolders(commands) {
  return commands
    .filter(({ gpus, status }) => gpus?.length > 0 && status !== "queued")
    .map(({ step, index, gpus, status }) => ({ step, index, gpus, status }));
}

/**
 * Queued commands by pool, where the pool says why they wait. That the items of a loop wait for each
 * other's slots is no reason: only steps of which nothing runs are named, unless nobody is there.
 */
function poolReasons(commands, pools) {
  const queued = commands.filter(
    (each) => each.status === "queued" && !(waitsForGpus(each) && hasWorkers(pools, each.pool)),
  );
  const busy = busySteps(commands);
  return [...Map.groupBy(queued, ({ pool }) => pool)].flatMap(([name, all]) => {
    const pool = pools.find((each) => each.name === name);
    const text = pool === undefined ? `pool ${name} has no live worker` : pool.waiting_reason;
    const isEmpty = pool === undefined || pool.workers === 0;
    const list = isEmpty ? all : all.filter(({ step }) => !busy.has(step));
    const steps = [...new Set(list.map(({ step }) => step))];
    return text === null || list.length === 0
      ? []
      : [{ kind: "pool", pool: name, count: list.length, steps, isEmpty, text }];
  });
}

/** Steps of which a worker has commands. */
function busySteps(commands) {
  return new Set(commands.filter(({ status }) => status !== "queued").map(({ step }) => step));
}

/** Of the steps whose open commands are all queued: why, by step. Pure. */
export function starvedSteps(commands, reasons) {
  const busy = busySteps(commands);
  const pools = reasons.filter(({ kind }) => kind === "pool" || kind === "gpu");
  return new Map(
    pools.flatMap(({ steps, text }) =>
      steps.filter((step) => !busy.has(step)).map((step) => [step, text]),
    ),
  );
}

export function reasonView(reason, id, onDone) {
  const views = { queue: queueView, wait: waitView, pool: poolView, gpu: gpuReasonView };
  return views[reason.kind](reason, id, onDone);
}

/** GPUs that a command of the execution has now. */
export function holderView({ step, index, gpus, status }) {
  const place = index === null ? step : `${step}[${index}]`;
  const names = gpus.map(({ id, name, memory_mib: mib, is_shared: isShared }) =>
    h(
      "span",
      { title: id },
      `${name} ${id.slice(0, 12)}${isShared ? `, ${formatMib(mib)} of it` : ""}`,
    ),
  );
  return h(
    "div",
    { class: "banner holds" },
    h("span", { class: "pill running" }, plural(gpus.length, "GPU")),
    h(
      "span",
      { class: "grow" },
      h("b", {}, place),
      status === "cancelling" ? " is being stopped on " : " runs on ",
      names.flatMap((name, at) => (at === 0 ? [name] : ["; ", name])),
      h("a", { href: "#/gpus" }, " GPUs"),
    ),
  );
}

function queueView({ key, limit, position, held, since, cancels }) {
  return banner(
    "Queued",
    `position ${position} under concurrency key `,
    h("code", {}, key),
    `: ${held} of ${plural(limit, "place")} taken, `,
    since && ["for ", liveTime(since, "took")],
    cancels && [". Takes the place of ", h("a", { href: `#/e/${cancels}` }, cancels)],
  );
}

function gpuReasonView({ count, steps, text }) {
  return banner(
    "Waiting",
    h("b", {}, namesOf(steps)),
    `${count === 1 ? "" : `, ${plural(count, "command")}`}: ${text}. `,
    h("a", { href: "#/gpus" }, " GPUs"),
  );
}

const namesOf = (steps) =>
  steps.length > 3 ? `${steps.slice(0, 3).join(", ")} …` : steps.join(", ");

function poolView({ pool, count, steps, isEmpty, text }) {
  return banner(
    "No slot",
    `${plural(count, "command")} of ${namesOf(steps)} ${count === 1 ? "waits" : "wait"}: ${text}. `,
    isEmpty ? ["Start one: ", h("code", {}, `noetl worker --pool ${pool}`)] : "",
    h("a", { href: "#/pools" }, " Pools"),
  );
}

function waitView(wait, id, onDone) {
  const { step, signal, until, deadline, since, index, count } = wait;
  const place = index === null ? step : `${step}[${index}]`;
  const others = count > 1 ? ` (${count} items wait)` : "";
  return banner(
    "Waiting",
    h("b", {}, place),
    signal === null ? " until " : [" for signal ", h("code", {}, signal)],
    signal === null && [timeText(until), ", ", liveTime(until, "left")],
    others,
    deadline !== null && ["; given up ", liveTime(deadline, "left"), ` (${timeText(deadline)})`],
    since && [h("span", { class: "dim" }, ", for ", liveTime(since, "took"))],
    signal !== null &&
      h(
        "button",
        { class: "primary", onclick: () => askSignal(wait, id).then((sent) => sent && onDone()) },
        `Send ${signal}…`,
      ),
  );
}

const timeText = (iso) =>
  new Date(iso).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });

/** Undefined if nothing was sent. */
export async function askSignal({ step, signal, count }, id) {
  const payload = jsonField("Payload, JSON", {
    value: APPROVAL,
    help: `Any JSON. Its fields are {{ ${step}.approved }} and so on from there on.`,
  });
  const sender = textField("From (optional)", { placeholder: "your name" });
  const broadcast = count > 1 ? checkField(`To all ${count} that wait for it`, true) : undefined;
  const path = `/api/executions/${id}/signals/${encodeURIComponent(signal)}`;
  const answer = await ask({
    title: `Send signal ${signal}`,
    text: `Step ${step} goes on with this payload.`,
    fields: [payload, sender, ...(broadcast ? [broadcast] : [])],
    confirm: `Send ${signal}`,
    run: () =>
      post(
        path,
        bodyWith("payload", payload.text(), {
          sender: sender.value() || undefined,
          broadcast: broadcast?.value() ? true : undefined,
        }),
      ),
  });
  if (answer !== undefined) {
    notify(`Signal ${signal} ${answer.status}`);
  }
  return answer;
}

function banner(title, ...text) {
  return h(
    "div",
    { class: "banner" },
    h("span", { class: "pill waiting" }, title.toLowerCase()),
    h(
      "span",
      { class: "grow" },
      text.filter((part) => !(part instanceof HTMLButtonElement)),
    ),
    text.filter((part) => part instanceof HTMLButtonElement),
  );
}
