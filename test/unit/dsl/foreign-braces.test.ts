import { describe, expect, test } from "bun:test";
import { renderText } from "../../../src/template/render.ts";
import { documentOf, findings, stepOf } from "./document.ts";

const SCOPE = {
  names: { image: "busybox", start: { id: 7 }, end: 9 },
  resolved: new Map(),
  nowMs: 0,
};

/** What the shell gets. */
function rendered(command: string): string {
  const task = stepOf(`- {step: a, tool: {kind: shell, command: ${JSON.stringify(command)}}}`)
    .tasks[0];
  return renderText(String(task?.config["command"]), SCOPE);
}

function codes(tool: string): readonly string[] {
  return [
    ...findings(documentOf(`- {step: a, tool: ${tool}}`), "error"),
    ...findings(documentOf(`- {step: a, tool: ${tool}}`), "warning"),
  ].map((finding) => finding.split(" ")[0] ?? "");
}

describe("commands", () => {
  test.each([
    "docker ps --format '{{.Names}}'",
    "docker inspect --format '{{json .}}' x",
    "docker ps --format 'table {{.ID}}\\t{{ .Image | upper }}'",
    "kubectl get pods -o go-template='{{range .items}}{{.metadata.name}}{{\"\\n\"}}{{end}}'",
    "kubectl get pod -o jsonpath='{.items[0].metadata.name}'",
    "kubectl get pod -o jsonpath='{range .items[*]}{@.metadata.name}{\"\\n\"}{end}'",
    "helm template '{{ $x := .Values.a }}{{- if eq .Kind \"a\" -}}x{{ else }}y{{ end }}'",
    "docker ps --format '{{/* why */}}{{.ID}}'",
    "awk '{{print $1}}' f",
    "git log --format='%h' | awk '{print $2}' | xargs -I{} echo {}",
    `echo \${#array[@]} \${x%%.*} $((1 + 2))`,
  ])("braces of other languages stay: %s", (command) => {
    expect(rendered(command)).toBe(command);
  });

  test("braces of other languages stay", () => {
    const command = "docker run --format '{{.ID}}{{end}}' {{ image }} {{ start.id }}";
    expect(rendered(command)).toBe("docker run --format '{{.ID}}{{end}}' busybox 7");
    expect(rendered("echo {{ end }}")).toBe("echo 9");
    expect(rendered("{% raw %}{{.ID}}{% endraw %} {{ image }}")).toBe("{{.ID}} busybox");
  });

  test("each such text is a warning, and what is neither is an error", () => {
    expect(codes("{kind: shell, cmds: ['echo {{.A}}', 'echo {{ x }}', 'echo {{ $y }}']}")).toEqual([
      "TEMPLATE_FOREIGN",
      "TEMPLATE_FOREIGN",
    ]);
    expect(codes("{kind: container, image: i, command: ['{{.A}}'], args: ['{{.B}}']}")).toEqual([
      "TEMPLATE_FOREIGN",
      "TEMPLATE_FOREIGN",
    ]);
    expect(codes("{kind: shell, command: 'echo {{ x'}")).toEqual(["TEMPLATE_SYNTAX"]);
    expect(codes("{kind: http, url: 'http://{{.host}}'}")).toEqual(["TEMPLATE_SYNTAX"]);
    expect(codes("{kind: shell, command: 'echo {{ 1.5 }} {{ a.b[0].c | default(0.5) }}'}")).toEqual(
      [],
    );
  });
});
