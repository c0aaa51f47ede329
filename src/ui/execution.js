/** One execution, live: its picture, its steps on a time line, why it waits, its log, events, result. */
import { actionsOf } from "./actions.js";
import { follow, get, repeat } from "./client.js";
import { createEventList } from "./event-list.js";
import { formatDuration, formatTime } from "./format.js";
import { createGraph } from "./graph-view.js";
import { createLog } from "./log-view.js";
import { Progress } from "./progress.js";
import {
  eventPanel,
  executionPanel,
  loadFailedItems,
  stepPanel,
  unknownStep,
} from "./step-panel.js";
import { createTabs } from "./tabs.js";
import { createTimeline } from "./timeline.js";
import {
  errorCard,
  executionLink,
  fact,
  h,
  liveTime,
  pill,
  playbookLink,
  present,
} from "./view.js";
import { gpuHolders, holderView, reasonsToWait, reasonView, starvedSteps } from "./waits.js";

const DRAW_MS = 250;
const LOOK_MS = 2000;
/** How often an execution that has ended is asked whether somebody retried it. */
const ENDED_LOOK_MS = 10_000;
/** Commands whose GPUs are shown; the page of GPUs has all. */
const HOLDERS_MAX = 8;

/** Resolves when the view is left. `reload()` shows it anew, `open(id)` another one. */
export async function executionView(main, signal, id, { reload }) {
  const page = new ExecutionPage(main, signal, id, reload);
  await page.load();
  await page.live();
}

class ExecutionPage {
  progress = new Progress();
  row;
  graph;
  relations = [];
  selected;
  isDirty = true;
  connection = "live";
  head = h("div");
  reasons = h("div", { "aria-live": "polite" });
  side = h("div", { class: "card side" });
  reasonText = "";

  constructor(main, signal, id, reload) {
    Object.assign(this, { main, signal, id, reload });
  }

  async load() {
    const { id, signal } = this;
    this.row = await summary(id, signal);
    this.graph = await get(`/api/executions/${id}/graph`, signal).catch(() => undefined);
    this.timeline = createTimeline({ onSelect: (name) => this.select(name) });
    this.picture = this.graph && this.makePicture();
    this.tabs = createTabs("Details", [
      { name: "Log", create: (inside) => this.makeLog(AbortSignal.any([inside, signal])) },
      { name: "Events", create: (inside) => this.makeEvents(AbortSignal.any([inside, signal])) },
    ]);
    this.main.replaceChildren(
      this.head,
      this.reasons,
      ...present([this.picture && card("Playbook", this.picture.element, "graph-card")]),
      h(
        "div",
        { class: "columns" },
        h(
          "div",
          {},
          card("Steps", this.timeline.element),
          h("div", { class: "card" }, this.tabs.element),
        ),
        this.side,
      ),
    );
    this.drawHead();
    this.showSide();
    void this.loadRelations();
    const onKey = (event) => event.key === "Escape" && this.selected && this.select(undefined);
    addEventListener("keydown", onKey, { signal });
  }

  makePicture() {
    const width = Math.max(280, this.main.clientWidth - 40);
    return createGraph(this.graph, { width, onSelect: (name) => this.select(name) });
  }

  makeLog(inside) {
    const onError = (error) => this.side.prepend(errorCard(error));
    return createLog(this.id, inside, { step: this.logStep, onError });
  }

  makeEvents(inside) {
    const close = () => this.showSide();
    this.events = createEventList(this.id, inside, {
      onSelect: (event) => this.side.replaceChildren(...eventPanel(event, close)),
      onError: (error) => this.side.prepend(errorCard(error)),
    });
    inside.addEventListener("abort", () => {
      this.events = undefined;
    });
    queueMicrotask(() => this.events?.setCount(this.count()));
    return this.events.element;
  }

  count() {
    return Math.max(this.row.event_count, this.progress.seq);
  }

  async live() {
    const { id, signal } = this;
    const timer = setInterval(() => this.draw(), DRAW_MS);
    signal.addEventListener("abort", () => clearInterval(timer), { once: true });
    const ended = new AbortController();
    const running = AbortSignal.any([signal, ended.signal]);
    void repeat(running, { ms: LOOK_MS, update: () => this.look(), onError: () => undefined });
    await follow(`/api/executions/${id}/events/stream?digest=true`, signal, {
      onMessage: ({ events }) => {
        for (const event of events) {
          this.progress.apply(event);
        }
        this.isDirty = true;
      },
      onState: (state) => {
        this.connection = state;
        this.drawHead();
      },
    });
    ended.abort();
    if (!signal.aborted) {
      await this.end();
    }
  }

  async end() {
    this.row = await summary(this.id, this.signal);
    this.reasons.replaceChildren();
    this.isDirty = true;
    this.draw();
    this.drawHead();
    void this.loadRelations();
    await this.select(this.selected);
    void repeat(this.signal, {
      ms: ENDED_LOOK_MS,
      update: async () => {
        const { is_terminal: isTerminal } = await get(
          `/api/executions/${this.id}/status`,
          this.signal,
        );
        if (!isTerminal) {
          this.reload();
        }
      },
      onError: () => undefined,
    });
  }

  /** Why it waits. */
  async look() {
    const { id, signal } = this;
    const [status, { commands }, pools] = await Promise.all([
      get(`/api/executions/${id}/status`, signal),
      get(`/api/executions/${id}/commands`, signal),
      get("/api/worker/pools", signal),
    ]);
    if (status.status !== this.row.status && !status.is_terminal) {
      this.row = { ...this.row, status: status.status };
      this.drawHead();
    }
    const reasons = reasonsToWait({ status, commands, pools });
    const starved = starvedSteps(commands, reasons);
    for (const step of this.progress.steps.values()) {
      step.starved = starved.get(step.name);
    }
    const holders = gpuHolders(commands);
    const text = JSON.stringify([reasons, holders]);
    if (text !== this.reasonText) {
      this.reasonText = text;
      const look = () => this.look().catch(() => undefined);
      this.reasons.replaceChildren(
        ...reasons.map((reason) => reasonView(reason, id, look)),
        ...holders.slice(0, HOLDERS_MAX).map(holderView),
      );
    }
  }

  draw() {
    const { row, progress } = this;
    const isLive = row.completed_at === null;
    if (!isLive && !this.isDirty) {
      return;
    }
    this.isDirty = false;
    const beginMs = Date.parse(row.started_at);
    const endMs = Math.max(beginMs, isLive ? Date.now() : Date.parse(row.completed_at));
    this.timeline.draw(progress, { beginMs, endMs, selected: this.selected });
    this.picture?.draw(progress, this.selected);
    this.events?.setCount(this.count());
  }

  drawHead() {
    const { row } = this;
    const isLive = row.completed_at === null;
    const onChange = (id) => (id === this.id ? this.reload() : goTo(id));
    this.head.replaceChildren(
      h(
        "div",
        { class: "row" },
        h("h1", {}, playbookLink(row.path)),
        row.version && h("span", { class: "dim" }, `v${row.version}`),
        pill(row.status),
        isLive &&
          this.connection === "lost" &&
          h("span", { class: "lost" }, "connection lost, trying again …"),
        h("span", { class: "grow" }),
        ...present(actionsOf(row, onChange)),
      ),
      factsOf(row, isLive),
    );
  }

  /** Those that come from it, and its sub-playbooks. */
  async loadRelations() {
    const { id, signal } = this;
    const [children, others] = await Promise.all([
      get(`/api/executions?parent_id=${id}&limit=20`, signal),
      get(`/api/executions?origin_id=${id}&limit=20`, signal),
    ]).catch(() => [[], []]);
    this.relations = [
      ...others.map((row) => ({ what: row.origin?.kind ?? "", row })),
      ...children.map((row) => ({ what: "sub-playbook", row })),
    ];
    if (this.selected === undefined && !signal.aborted) {
      this.showSide();
    }
  }

  showSide() {
    const { row, relations } = this;
    this.selected = undefined;
    this.isDirty = true;
    const onStep = (name) => this.select(name);
    // Where there is one column, what went wrong comes first.
    this.side.classList.toggle("first", row.status === "FAILED");
    this.side.replaceChildren(...executionPanel(row, { relations, onStep }));
  }

  async select(name) {
    const { id, signal } = this;
    if (name === undefined) {
      return this.showSide();
    }
    this.selected = name;
    this.isDirty = true;
    this.draw();
    try {
      const seen = this.progress.steps.get(name);
      const [{ steps }, failedItems] = await Promise.all([
        get(`/api/executions/${id}/steps?clip=true&step=${encodeURIComponent(name)}`, signal),
        loadFailedItems(id, seen, signal),
      ]);
      if (this.selected === name) {
        this.showStep(steps[0] ?? unknownStep(name, seen), failedItems);
      }
    } catch (error) {
      this.side.replaceChildren(errorCard(error));
    }
  }

  showStep(row, failedItems) {
    this.side.classList.remove("first");
    const onLog = (step) => {
      this.logStep = step;
      this.tabs.open("Log");
    };
    this.side.replaceChildren(
      ...stepPanel({
        row,
        seen: this.progress.steps.get(row.step),
        node: this.graph?.steps.find(({ step }) => step === row.step),
        onClose: () => this.showSide(),
        onLog,
        failedItems,
      }),
    );
    if (matchMedia("(max-width: 900px)").matches) {
      this.side.scrollIntoView({ block: "start" });
    }
  }
}

const goTo = (id) => {
  location.hash = `#/e/${id}`;
};

const card = (title, element, kind = "") =>
  h("div", { class: `card ${kind}` }, h("h2", {}, title), element);

/** Without events: those come by the stream. */
async function summary(id, signal) {
  const { events: _events, ...row } = await get(`/api/executions/${id}?events=false`, signal);
  return row;
}

function factsOf(row, isLive) {
  const { origin } = row;
  return h(
    "div",
    { class: "facts" },
    fact("id", h("span", { class: "mono" }, row.execution_id)),
    fact("started", formatTime(row.started_at)),
    isLive
      ? fact("for", liveTime(row.started_at, "took"))
      : fact("took", formatDuration(row.duration_seconds)),
    row.parent_execution_id && fact("part of", executionLink(row.parent_execution_id)),
    origin && fact(`${origin.kind} of`, executionLink(origin.execution_id)),
    row.concurrency && fact("concurrency key", `${row.concurrency.key} (${row.concurrency.limit})`),
  );
}
