/** The web page and the API's own page: texts inside the binary, nothing from other hosts. */
import { Elysia } from "elysia";
import api from "../../ui/api.html" with { type: "text" };
import app from "../../ui/app.js" with { type: "text" };
import page from "../../ui/page.html" with { type: "text" };
import style from "../../ui/style.css" with { type: "text" };
import view from "../../ui/view.js" with { type: "text" };

const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const FILES: readonly (readonly [path: string, type: string, text: string])[] = [
  ["/", "text/html", page as unknown as string],
  ["/api", "text/html", api as unknown as string],
  ["/ui/app.js", "text/javascript", app],
  ["/ui/view.js", "text/javascript", view],
  ["/ui/style.css", "text/css", style],
];

export function pageRoutes() {
  const routes = new Elysia({ normalize: false });
  for (const [path, type, text] of FILES) {
    routes.get(path, () => serve(type, text), { detail: { hide: true } });
  }
  return routes;
}

function serve(type: string, text: string): Response {
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
