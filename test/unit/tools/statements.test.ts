import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { splitStatements } from "../../../src/tools/postgres/statements.ts";

function texts(sql: string): readonly string[] {
  return splitStatements(sql).map((statement) => statement.text);
}

describe("splitStatements()", () => {
  test("cuts at semicolons and leaves out empty parts", () => {
    expect(texts("SELECT 1; ;SELECT 2;\n")).toEqual(["SELECT 1", "SELECT 2"]);
    expect(texts("  \n-- nothing\n/* here */ ;")).toEqual([]);
    expect(texts("")).toEqual([]);
  });

  test("keeps semicolons inside quotes", () => {
    const parts = [
      "SELECT 'a;''b;'",
      'SELECT ";x"";" FROM t',
      "SELECT E'it\\'s; ok'",
      "SELECT 'back\\'",
    ];
    expect(texts(parts.join(";"))).toEqual(parts);
  });

  test("keeps semicolons inside dollar quotes, also nested ones", () => {
    const body = "DO $$ BEGIN PERFORM 1; END $$";
    const nested = "CREATE FUNCTION f() RETURNS text AS $body$ SELECT $$;$$; $body$ LANGUAGE sql";
    expect(texts(`${body};${nested};SELECT 1`)).toEqual([body, nested, "SELECT 1"]);
  });

  test("keeps semicolons inside comments, which nest", () => {
    const parts = ["SELECT 1 -- a; b\n + 1", "SELECT /* ; /* ; */ ; */ 2"];
    expect(texts(parts.join(";"))).toEqual(parts);
  });

  test("keeps semicolons inside parentheses and SQL bodies", () => {
    const rule = "CREATE RULE r AS ON INSERT TO t DO ALSO (INSERT INTO a VALUES (1); SELECT 1)";
    const body =
      "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END";
    expect(texts(`${rule};${body};SELECT 3`)).toEqual([rule, body, "SELECT 3"]);
  });

  test("takes BEGIN and END of a transaction for statements", () => {
    expect(texts("BEGIN; UPDATE t SET a = 1; END;")).toEqual([
      "BEGIN",
      "UPDATE t SET a = 1",
      "END",
    ]);
  });

  test("counts parameters, but not in quotes or names", () => {
    const counts = splitStatements("SELECT $2, $1; SELECT '$3', a$4, $$ $5 $$; SELECT $10").map(
      (statement) => statement.parameterCount,
    );
    expect(counts).toEqual([2, 0, 10]);
  });

  test("never throws and never loses a character that is not a separator", () => {
    const piece = fc.constantFrom(
      ..."a ; ' \" $$ $t$ ( ) -- /* */ E' \\ \n begin atomic end case $1 é".split(" "),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 30 }), (pieces) => {
        const sql = pieces.join(" ");
        const squeeze = (text: string): string => text.replace(/[\s;]/g, "");
        expect(squeeze(sql)).toContain(squeeze(texts(sql).join("")).slice(0, 5));
      }),
    );
  });
});
