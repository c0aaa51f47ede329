/** The page in a real browser, where there is one: nothing installs it. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { startPlatform } from "../secrets/platform.ts";
import { openPage, PAGE_IS_TESTED } from "./chromium.ts";

setDefaultTimeout(90_000);

const IMAGE = "<img src=x onerror=document.title='owned'>";
const SCRIPT = "<script>document.title='owned'</script>";

const PLAYBOOK = `
apiVersion: noetl.io/v2
kind: Playbook
metadata: { name: hostile, path: tests/hostile, description: "${IMAGE}" }
workload: { text: "${SCRIPT}" }
workflow:
  - step: start
    desc: "${IMAGE}"
    tool:
      kind: javascript
      code: |
        console.log("${SCRIPT}");
        return { html: "${IMAGE}" };
    next: { arcs: [{ step: bad, when: "{{ '${"<b>"}' != '' }}" }] }
  - step: bad
    tool: { kind: javascript, code: "throw new Error(\\"${SCRIPT}\\")" }
`;

test.skipIf(!PAGE_IS_TESTED)(
  "what playbooks, tasks and logs say is text on the page, whatever it looks like",
  async () => {
    await using platform = await startPlatform();
    const url = await platform.listen();
    const { id, status } = await platform.run(PLAYBOOK);
    expect(status).toBe("FAILED");
    const pages = [`/#/e/${id}`, "/#/p/tests%2Fhostile", "/#/"];
    const documents = await Promise.all(pages.map((page) => openPage(`${url}${page}`)));
    for (const document of documents) {
      expect(document).toContain("tests/hostile");
      expect(document).not.toContain("<img");
      // The page's own script, and no other.
      expect(document.match(/<script/g)).toHaveLength(1);
      expect(document).not.toContain("<title>owned");
    }
    const [execution = "", playbook = ""] = documents;
    expect(execution).toContain("&lt;script&gt;document.title='owned'&lt;/script&gt;");
    expect(execution).toContain('class="node failed"');
    expect(playbook).toContain("&lt;img src=x onerror=document.title='owned'&gt;");
  },
);
