/** The runner's side of a race for tasks: each line on stdin is the last number that was sent. */
import { Ledger } from "../../../src/tools/javascript/ledger.ts";

const ledger = Ledger.open(process.argv[2] ?? "");
const started: number[] = [];
let number = 0;
for await (const line of console) {
  const sent = Number(line);
  while (number < sent) {
    number++;
    if (ledger.start(number)) {
      started.push(number);
    }
  }
  process.stdout.write(".");
}
process.stdout.write(`\n${started.join()}\n`);
