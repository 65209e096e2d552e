// Sentences and labels belong into playground/<feature>/sentences.py; the scripts read them with `sentencesOf`.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import test from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../playground/", import.meta.url));
const scripts = readdirSync(ROOT, { recursive: true, encoding: "utf8" }).filter((path) => path.endsWith(".js"));
const source = (path) => readFileSync(ROOT + path, "utf8");

const TOKENS = /\/\/[^\n]*|\/\*[\s\S]*?\*\/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`/g;
const LABEL = /^[A-Z][a-z]+ [A-Za-z]/; // "New name"
const SENTENCE = /\b[A-Za-z]+[,;:.]? [A-Za-z]+[,;:.]? [A-Za-z]+/; // three words
const ALLOWED = [/^color-mix\(/];

/** String literals of a script, with "{}" for the expressions of templates. */
const literals = (text) =>
  [...text.matchAll(TOKENS)]
    .map(([token]) => token)
    .filter((token) => !token.startsWith("/"))
    .map((token) => token.slice(1, -1).replace(/\$\{[^}]*\}/g, "{}"));

const isSentence = (literal) =>
  (LABEL.test(literal) || SENTENCE.test(literal)) && !ALLOWED.some((allowed) => allowed.test(literal));

test("the search recognizes sentences and labels", () => {
  for (const literal of ["New name", "no snapshot yet", "Loss of {}, in nats per character"])
    assert.ok(isSentence(literal));
  for (const literal of ["small action", "#tabs > .tab-wrapper", "in srgb", "Escape"]) assert.ok(!isSentence(literal));
  assert.deepEqual(literals('// "a comment"\nf("one", `two $' + "{three}`)"), ["one", "two {}"]);
});

for (const path of scripts) {
  test(`no sentences in ${path}`, () => assert.deepEqual(literals(source(path)).filter(isSentence), []));
}

test("every sentence that a script reads is in the catalogue of its feature", () => {
  const catalogue = (feature) => readFileSync(`${ROOT}${feature}/sentences.py`, "utf8");
  for (const path of scripts) {
    const text = source(path);
    const constants = text.matchAll(/const (\w+) = sentencesOf\("(\w+)"\);/g);
    const names = Object.fromEntries([...constants].map(([, name, feature]) => [name, feature]));
    const reads = [
      ...[...text.matchAll(/\b([A-Z]+)\.([A-Z_0-9]+)\b/g)]
        .filter(([, name]) => names[name])
        .map(([, k, v]) => [names[k], v]),
      ...[...text.matchAll(/sentencesOf\("(\w+)"\)\.([A-Z_0-9]+)/g)].map(([, feature, name]) => [feature, name]),
    ];
    for (const [feature, name] of reads) {
      assert.match(catalogue(feature), new RegExp(`^${name} = `, "m"), `${path} reads ${feature}.${name}`);
    }
  }
});
