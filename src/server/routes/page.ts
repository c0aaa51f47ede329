/** The web page and the page of the API: texts inside the binary, nothing from other hosts. */

import dagre from "@dagrejs/dagre" with { type: "text" };
import { Elysia } from "elysia";
import actions from "../../ui/actions.js" with { type: "text" };
import apiPage from "../../ui/api.html" with { type: "text" };
import api from "../../ui/api.js" with { type: "text" };
import app from "../../ui/app.js" with { type: "text" };
import client from "../../ui/client.js" with { type: "text" };
import credentials from "../../ui/credentials.js" with { type: "text" };
import dialog from "../../ui/dialog.js" with { type: "text" };
import eventList from "../../ui/event-list.js" with { type: "text" };
import executionStyle from "../../ui/execution.css" with { type: "text" };
import execution from "../../ui/execution.js" with { type: "text" };
import failure from "../../ui/failure.js" with { type: "text" };
import format from "../../ui/format.js" with { type: "text" };
import gpus from "../../ui/gpus.js" with { type: "text" };
import graphLayout from "../../ui/graph-layout.js" with { type: "text" };
import graphView from "../../ui/graph-view.js" with { type: "text" };
import jsonText from "../../ui/json-text.js" with { type: "text" };
import list from "../../ui/list.js" with { type: "text" };
import logView from "../../ui/log-view.js" with { type: "text" };
import page from "../../ui/page.html" with { type: "text" };
import pager from "../../ui/pager.js" with { type: "text" };
import playbook from "../../ui/playbook.js" with { type: "text" };
import playbookList from "../../ui/playbook-list.js" with { type: "text" };
import pools from "../../ui/pools.js" with { type: "text" };
import progress from "../../ui/progress.js" with { type: "text" };
import runFields from "../../ui/run-fields.js" with { type: "text" };
import runForm from "../../ui/run-form.js" with { type: "text" };
import schedules from "../../ui/schedules.js" with { type: "text" };
import stepPanel from "../../ui/step-panel.js" with { type: "text" };
import stored from "../../ui/stored.js" with { type: "text" };
import storedFind from "../../ui/stored-find.js" with { type: "text" };
import style from "../../ui/style.css" with { type: "text" };
import subscriptions from "../../ui/subscriptions.js" with { type: "text" };
import tabs from "../../ui/tabs.js" with { type: "text" };
import timeline from "../../ui/timeline.js" with { type: "text" };
import view from "../../ui/view.js" with { type: "text" };
import waits from "../../ui/waits.js" with { type: "text" };
import windowList from "../../ui/window-list.js" with { type: "text" };

const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** By the name that other scripts import them by. */
const SCRIPTS: Readonly<Record<string, string>> = {
  actions,
  api,
  app,
  client,
  credentials,
  dialog,
  "event-list": eventList,
  execution,
  failure,
  format,
  gpus,
  "graph-layout": graphLayout,
  "graph-view": graphView,
  "json-text": jsonText,
  list,
  "log-view": logView,
  pager,
  playbook,
  "playbook-list": playbookList,
  pools,
  progress,
  "run-fields": runFields,
  "run-form": runForm,
  schedules,
  "step-panel": stepPanel,
  stored,
  "stored-find": storedFind,
  subscriptions,
  tabs,
  timeline,
  view,
  waits,
  "window-list": windowList,
  // Draws nothing: says where steps and arcs go. Bun's types know the module, not its text.
  dagre: dagre as unknown as string,
};

interface PageFile {
  readonly path: string;
  readonly type: string;
  readonly text: string;
}

// Bun's types know an imported page as a bundle, whatever the import attribute says.
const FILES: readonly PageFile[] = [
  { path: "/", type: "text/html", text: page as unknown as string },
  { path: "/api", type: "text/html", text: apiPage as unknown as string },
  { path: "/ui/style.css", type: "text/css", text: style },
  { path: "/ui/execution.css", type: "text/css", text: executionStyle },
  ...Object.entries(SCRIPTS).map(([name, text]) => ({
    path: `/ui/${name}.js`,
    type: "text/javascript",
    text,
  })),
];

/** Without data: served to anyone, they ask for the token themselves. */
export const PAGE_PATHS: readonly string[] = FILES.map((file) => file.path);

export function pageRoutes() {
  const routes = new Elysia({ normalize: false });
  for (const file of FILES) {
    routes.get(file.path, () => serve(file), { detail: { hide: true } });
  }
  return routes;
}

function serve({ type, text }: PageFile): Response {
  return new Response(text, {
    headers: {
      "content-type": `${type}; charset=utf-8`,
      "content-security-policy": POLICY,
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
      "cache-control": "no-cache",
    },
  });
}
