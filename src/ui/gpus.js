/** GPUs by pool: what each is doing, for whom since when, and what waits for them. */
import { get, repeat } from "./client.js";
import { formatMib, plural } from "./format.js";
import { empty, errorCard, h, labelledMeter, liveTime, playbookLink } from "./view.js";

const LOOK_MS = 2000;
/** Beyond this a reading is not what people think they see. */
const STALE_S = 15;
const NO_GPUS =
  "No worker has GPUs. On a machine with NVIDIA's driver, `nvidia-smi` and docker or podman start " +
  "`noetl worker --pool gpu-01`: its GPUs appear here, and tasks of `kind: cuda` or with `gpu: 1` run on them.";

/** By state: the pill's colour, and the words. */
const STATES = {
  ready: ["completed", "ready"],
  leased: ["running", "leased"],
  unclean: ["waiting", "unclean"],
  out_of_service: ["failed", "out of service"],
  lost: ["idle", "worker lost"],
};

export function gpuView(main, signal) {
  const body = h("div", {}, h("div", { class: "empty" }, "Loading…"));
  main.replaceChildren(h("h1", {}, "GPUs"), body);
  const sections = new Map();
  const update = async () => {
    const [{ gpus }, pools] = await Promise.all([
      get("/api/gpus?limit=1000", signal),
      get("/api/worker/pools", signal),
    ]);
    const shown = poolsOf(gpus, pools);
    for (const pool of shown) {
      if (!sections.has(pool.name)) {
        sections.set(pool.name, poolSection(pool.name));
      }
      sections.get(pool.name).update(pool);
    }
    const parts =
      shown.length === 0 ? [empty(NO_GPUS)] : shown.map(({ name }) => sections.get(name).element);
    replaceIfOther(body, parts);
  };
  const onError = (error) => body.replaceChildren(errorCard(error));
  void repeat(signal, { ms: LOOK_MS, update, onError });
}

/** Pools that have GPUs, or commands that want some, by name. Pure. */
export function poolsOf(gpus, pools) {
  const names = new Set([
    ...gpus.map(({ pool }) => pool),
    ...pools.filter(({ waiting }) => waiting?.length > 0).map(({ name }) => name),
  ]);
  return [...names].sort().map((name) => ({
    name,
    gpus: gpus.filter(({ pool }) => pool === name),
    waiting: pools.find((pool) => pool.name === name)?.waiting ?? [],
  }));
}

/** `4 GPUs: 2 leased, 1 ready, 1 out of service`. Pure. */
export function summaryOf(gpus) {
  const counts = Object.entries(STATES).flatMap(([state, [, words]]) => {
    const count = gpus.filter((gpu) => gpu.state === state).length;
    return count === 0 ? [] : [`${count} ${words}`];
  });
  return gpus.length === 0 ? "no GPUs" : `${plural(gpus.length, "GPU")}: ${counts.join(", ")}`;
}

/** Leaves elements that are there where they are, so that focus survives. */
function replaceIfOther(element, parts) {
  const isSame =
    parts.length === element.children.length &&
    parts.every((part, index) => part === element.children[index]);
  if (!isSame) {
    element.replaceChildren(...parts);
  }
}

function poolSection(name) {
  const title = h("h2", { class: "over" }, name);
  const grid = h("div", { class: "gpus" });
  const queue = h("div", { "aria-live": "polite" });
  const cards = new Map();
  let queueText = "";
  return {
    element: h("section", { "aria-label": `Pool ${name}` }, title, queue, grid),
    update: ({ gpus, waiting }) => {
      title.textContent = `${name} · ${summaryOf(gpus)}`;
      const keys = gpus.map(({ worker_id: worker, id }) => `${worker} ${id}`);
      gpus.forEach((gpu, index) => {
        const key = keys[index];
        if (!cards.has(key)) {
          cards.set(key, gpuCard());
        }
        cards.get(key).update(gpu);
      });
      replaceIfOther(
        grid,
        keys.map((key) => cards.get(key).element),
      );
      const text = JSON.stringify(waiting);
      if (text !== queueText) {
        queueText = text;
        queue.replaceChildren(...waiting.map((wait) => waitLine(wait, name)));
      }
    },
  };
}

/** What waits, on what. */
function waitLine(wait, pool) {
  return h(
    "div",
    { class: "banner" },
    h("span", { class: "pill waiting" }, "waiting"),
    h(
      "span",
      { class: "grow" },
      h("b", {}, placeOf(wait)),
      " of ",
      h("a", { href: `#/e/${wait.execution_id}` }, wait.path),
      `: ${wait.reason ?? `waits for ${plural(wait.wants.count, "GPU")} of ${pool}`}, `,
      h("span", { class: "dim" }, "for ", liveTime(wait.since, "took")),
    ),
  );
}

const placeOf = ({ step, index }) => (index === null ? step : `${step}[${index}]`);

/** A card whose bars and texts change in place. */
function gpuCard() {
  const state = h("span");
  const name = h("b");
  const id = h("span", { class: "dim mono" });
  const memory = labelledMeter("Memory");
  const load = labelledMeter("Utilisation");
  const facts = h("div", { class: "dim small" });
  const reason = h("div", { class: "error small" });
  const holders = h("div");
  let holderText = "";
  const element = h(
    "article",
    { class: "card gpu" },
    h("div", { class: "row" }, name, h("span", { class: "grow" }), state),
    id,
    memory.element,
    load.element,
    facts,
    reason,
    holders,
  );
  return {
    element,
    update: (gpu) => {
      const [kind, words] = STATES[gpu.state] ?? ["idle", gpu.state];
      state.className = `pill ${kind}`;
      setText(state, words);
      setText(name, titleOf(gpu));
      setText(id, gpu.id);
      id.title = gpu.id;
      element.setAttribute("aria-label", `${titleOf(gpu)}: ${words}`);
      memory.set(gpu.memory_used_mib, gpu.memory_mib, memoryText(gpu));
      load.set(gpu.utilization_percent, 100, percentText(gpu.utilization_percent));
      setText(facts, factsOf(gpu).join(" · "));
      setText(reason, gpu.reason ?? "");
      const text = JSON.stringify(gpu.leases);
      if (text !== holderText) {
        holderText = text;
        holders.replaceChildren(...gpu.leases.map(holderLine));
      }
    },
  };
}

function setText(element, text) {
  if (element.textContent !== text) {
    element.textContent = text;
  }
}

function titleOf({ index, name, mig_profile: profile }) {
  return `${index} · ${name.replace(/^NVIDIA /, "")}${profile ? ` ${profile}` : ""}`;
}

const percentText = (percent) => (percent === null ? "not known" : `${percent} %`);

const memoryText = ({ memory_used_mib: used, memory_mib: total }) =>
  used === null ? formatMib(total) : `${formatMib(used)} of ${formatMib(total)}`;

/** What else there is to say, as far as it is known. Pure. */
export function factsOf(gpu) {
  const { temperature_c: degrees, power_w: watts, ecc_errors: errors, age_seconds: age } = gpu;
  return [
    degrees !== null && `${degrees} °C`,
    watts !== null && `${Math.round(watts)} W`,
    errors > 0 && plural(errors, "ECC error"),
    gpu.parent_id && `slice of ${gpu.parent_id.slice(0, 12)}`,
    `${gpu.worker}${gpu.worker_status === "draining" ? " (draining)" : ""}`,
    age > STALE_S && `read ${Math.round(age)} s ago`,
  ].filter(Boolean);
}

function holderLine(lease) {
  return h(
    "div",
    { class: "holder" },
    h("a", { href: `#/e/${lease.execution_id}` }, placeOf(lease)),
    " of ",
    playbookLink(lease.path),
    ", for ",
    liveTime(lease.since, "took"),
    lease.is_shared && `, ${formatMib(lease.memory_mib)} of it`,
    lease.status === "cancelling" && ", is being stopped",
  );
}
