/** A report as a page for browsers: no script, loads itself again. */
import type { Sinces } from "./history.ts";
import type { ComponentHealth, HealthReport } from "./report.ts";

const RELOAD_S = 10;
const STYLE = `
:root { color-scheme: light dark; font: 15px/1.45 system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
h1 { font-size: 1.3rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .45rem .8rem .45rem 0; border-top: 1px solid #8884; }
th { font-weight: 600; border-top: 0; }
td p { margin: 0 0 .2rem; }
.step { opacity: .75; }
.status { font-weight: 600; white-space: nowrap; }
.ok { color: #18864b; } .degraded { color: #b06a00; } .down { color: #cf2a2a; }
.unknown { color: #8a4fbf; } .not_configured { opacity: .6; font-weight: 400; }
`;

export function reportPage(report: HealthReport, sinces: Sinces): string {
  const rows = report.components.map((health) => rowHtml(health, sinces)).join("\n");
  const at = new Date(report.checkedAtMs).toISOString().replace(/\.\d+Z$/, "Z");
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="${RELOAD_S}">
<meta name="viewport" content="width=device-width"><title>noetl: ${report.status}</title>
<style>${STYLE}</style></head><body>
<h1>noetl is <span class="${report.status}">${word(report.status)}</span></h1>
<table><thead><tr><th>Component</th><th>Status</th><th>Since</th><th>What</th></tr></thead>
<tbody>
${rows}
</tbody></table>
<p>Checked at ${at}. <a href="/health?format=json">JSON</a> · <a href="/metrics">metrics</a></p>
</body></html>
`;
}

function rowHtml(
  { component, status, message, problems, nextStep }: ComponentHealth,
  sinces: Sinces,
) {
  const since = sinces.get(component);
  const when =
    since?.before === undefined
      ? ""
      : `${new Date(since.sinceMs).toISOString().slice(11, 19)}, was ${word(since.before)}`;
  const what =
    problems.length === 0
      ? `<p>${escapeHtml(message)}</p>${nextStep === undefined ? "" : `<p class="step">${escapeHtml(nextStep)}</p>`}`
      : problems
          .map(
            (problem) =>
              `<p>${escapeHtml(problem.message)}</p><p class="step">→ ${escapeHtml(problem.nextStep)}</p>`,
          )
          .join("");
  return `<tr><td>${escapeHtml(component)}</td><td class="status ${status}">${word(status)}</td><td>${when}</td><td>${what}</td></tr>`;
}

function word(status: string): string {
  return status.replaceAll("_", " ");
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
