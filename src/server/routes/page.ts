/** The web page and the page of the API: texts inside the binary, nothing from other hosts. */
import { Elysia } from "elysia";
import apiPage from "../../ui/api.html" with { type: "text" };
import api from "../../ui/api.js" with { type: "text" };
import app from "../../ui/app.js" with { type: "text" };
import client from "../../ui/client.js" with { type: "text" };
import execution from "../../ui/execution.js" with { type: "text" };
import list from "../../ui/list.js" with { type: "text" };
import page from "../../ui/page.html" with { type: "text" };
import pools from "../../ui/pools.js" with { type: "text" };
import progress from "../../ui/progress.js" with { type: "text" };
import style from "../../ui/style.css" with { type: "text" };
import view from "../../ui/view.js" with { type: "text" };

const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const SCRIPTS = { api, app, client, execution, list, pools, progress, view };

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
