// Writes testdata/vectors.json.gz: texts with the tokens that OpenAI's own
// implementation (npm tiktoken, the Rust core compiled to WebAssembly) makes of
// them, and digests of its tokens around every code point.
import { writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { get_encoding } from "tiktoken";

const encodings = ["cl100k_base", "o200k_base"].map((name) => get_encoding(name));

let state = 0x2545f491;
const random = (n) => {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return (state >>> 0) % n;
};
const pick = (list) => list[random(list.length)];
const many = (n, make) => Array.from({ length: n }, make).join("");

// By hand: where the patterns are easy to get wrong.
const texts = [
  "", " ", "a", "Hello, world!", "Hello world, it's  a tokenizer-thing\n\n  x 12345",
  "a \n \n b", " \n".repeat(8), "\n\n\n", "\r\n\r\n", " \r\n \t\n  x", "x   ", "x \t ", "\t\tx", "  \u00a0x", "\u3000\u3000日",
  "x\n   ", "\n \n\t\n", "\u0085\u2028\u2029x", "a\u200bb", "\ufeffabc", "\v\f\u001c\u001fx",
  "I'm you're he'd they've we'll it's can't", "I'M YOU'RE HE'D THEY'VE WE'LL IT'S CAN'T", "it'S It'\u017f IT'\u017ftart don\u2019t",
  "'s", "'story", "'\u017ftory", "''s", "' s", "'re're", "'l", "'lL", "'r", "'v", "'vE'", "x'", "x'll'd've", "O'Reilly's'", "'\u212a", "\u212a's",
  "1", "12", "123", "1234", "1234567", "3.14159", "1,000,000", "٣٤٥٦", "Ⅷ½²", "x1y22z333", "0x1F4A9", "1e-10", "v1.26.0-rc.1",
  "HelloWorld", "helloWORLD", "HTTPServer", "getHTTPResponse", "iPhone", "ABC", "ABCd", "aB", "Ab", "ǅungla ǅ", "ʰʰA", "Aʰ", "中A", "中AB", "A中", "A中B", "A中Bc", "中中AB文",
  "e\u0301", "\u0301", "\u0301\u0301", "\u0301A", "\u0301AB", "\u0301Ab", "\u0301 A", "A\u0301", "A\u0301B", " \u0301A", "!\u0301A", "!!\u0301a", "\u0301's", "\u0301\u0301AB", "1\u03012",
  "//\n//\n/", "path/to/file.go", "http://example.com/a?b=c&d=%20#e", "///", "!/\n/x", "a/\r\n/b", "// comment\n\n\tcode()\n", "*/\n",
  "```go\nfunc main() {\n\tfmt.Println(\"hi\")\n}\n```\n", "| a | b |\n|---|:-:|\n| 1 | 2 |\n", "# Title\n\n- item\n  - nested\n\n> quote\n",
  "if (x==y) { return; } else { x += 1 }", "<div class=\"a\">&nbsp;</div>", "{\"a\":[1,2,{\"b\":null}]}", "SELECT * FROM t WHERE a='b';", "$\\frac{1}{2}$",
  "日本語のテキスト", "中文文本，没有空格。", "한국어 텍스트", "עברית", "العربية", "ไทยไม่มีช่องว่าง", "हिन्दी पाठ", "Привет, мир!", "Ελληνικά", "Tiếng Việt", "İstanbul ıI ẞß",
  "😀", "👍🏽", "👨‍👩‍👧‍👦", "🇩🇪🇫🇷", "a😀b", " 😀 ", "✈️", "1️⃣", "\u{1f6d8}\u{1fae9}",
  "<|endoftext|>", "<|endofprompt|> x <|fim_prefix|>", "\u0000", "a\u0000", "\u0000\u0000", "a\u0000\u0000\u0000", "\ufffd\ufffd", "\u{10ffff}\u{e000}",
  // Letters, digits and marks that are new in Unicode 16.
  "\u{10d40}\u{10d41}1", "a\u{10d50}b", "\u1c89\u1c8aA", "x\u0897y", "\ua7cb\ua7cdz", "\u{11de0}9",
];
for (const c of ["a", "A", " ", "\n", "-", "=", "ab", "é", "中", "0", "\t", "_", "😀", "abc ", "\r\n", " \n", "e\u0301", "ñandú", "/"]) {
  for (const n of [2, 3, 5, 7, 16, 33, 63, 64, 65, 100, 257]) texts.push(c.repeat(n), "x" + c.repeat(n), c.repeat(n) + "y");
}

// At random: characters of few classes in all orders, then words of many kinds.
const tight = ["a", "B", "é", "É", "中", "ʰ", "ǅ", "\u0301", "1", "½", " ", "\n", "\r", "\t", "\u00a0", "'", "s", "S", "\u017f", "t", "l", "r", "e", "v", "/", "!", "-", "😀", "\u200d"];
for (let i = 0; i < 2500; i++) texts.push(many(1 + random(10), () => pick(tight)));
const planes = [
  () => 0x20 + random(0x5f), () => 0xa0 + random(0x160), () => 0x100 + random(0x500), () => 0x600 + random(0xa00), () => 0x1000 + random(0x1000),
  () => 0x2000 + random(0x1000), () => 0x3040 + random(0xc0), () => 0x4e00 + random(0x5200), () => 0xac00 + random(0x2ba4), () => 0xe000 + random(0x2000),
  () => 0x10000 + random(0x4000), () => 0x1d400 + random(0x400), () => 0x1f300 + random(0x800), () => 0x20000 + random(0x10000), () => 0x10000 + random(0x100000),
];
const characters = (make, n) => many(n, () => String.fromCodePoint(make()));
for (let i = 0; i < 600; i++) texts.push(characters(planes[i % planes.length], 1 + random(24)));
for (let i = 0; i < 300; i++) texts.push(many(1 + random(8), () => characters(pick(planes), 1 + random(4)) + pick(["", "", " ", "\n", "  "])));
const latin = "etaoinshrdlucmfwypvbgkjqxz";
const letters = (n) => many(n, () => latin[Math.min(random(26), random(26))]);
const word = () => pick([
  () => letters(1 + random(9)), () => letters(2 + random(20)), () => letters(1 + random(4)).toUpperCase(), () => letters(1)[0].toUpperCase() + letters(1 + random(7)),
  () => letters(3) + "_" + letters(5), () => letters(3) + letters(1).toUpperCase() + letters(4), () => String(random(10 ** random(10))), () => random(2 ** 31).toString(16),
  () => Buffer.from(letters(3 + random(30))).toString("base64"), () => pick(["the", "of", "and", "don't", "tokenization", "Kubernetes", "implementation", "README.md", "https://", "()", "{}", "->", "==", "...", "--", "“", "”", "—"]),
])();
const gap = () => pick([" ", " ", " ", " ", "", "\n", "  ", "\n\n", "\t", ", ", ". ", "; ", ":\n", "\r\n", "    ", "/", "\n\n  - "]);
for (let i = 0; i < 1500; i++) texts.push(many(1 + random(12), () => word() + gap()));
for (let i = 0; i < 60; i++) texts.push(letters(65 + random(200)), many(100 + random(100), () => pick(["a", "b"])), characters(planes[7], 30 + random(60)), many(40, () => pick(["-", "=", "*", "_", "."])));
// Random bytes, read as UTF-8.
for (let i = 0; i < 300; i++) texts.push(Buffer.from(Array.from({ length: 1 + random(30) }, () => random(256))).toString("utf8"));

// Around every code point of the planes in use, some of the ideographs of
// planes 2 and 3, and fewer of each other plane: FNV-1a of the tokens.
const around = (c) => `a${c}b B${c}'s ${c}1${c}A!${c}\n`;
const stride = (block) => (block < 0x20 || block === 0xe0 ? 1 : block < 0x40 ? 16 : 256);
const sweep = [];
for (let block = 0; block < 0x110; block++) {
  const sums = encodings.map(() => 0x811c9dc5);
  const first = block * 0x1000, step = stride(block);
  for (let point = first; point < first + 0x1000; point += step) {
    if (point >= 0xd800 && point < 0xe000) continue;
    const text = around(String.fromCodePoint(point));
    encodings.forEach((encoding, e) => {
      for (const rank of encoding.encode_ordinary(text)) sums[e] = Math.imul(sums[e] ^ rank, 0x01000193) >>> 0;
    });
  }
  sweep.push({ first, step, cl100k_base: sums[0], o200k_base: sums[1] });
}

const vectors = [...new Set(texts)].map((text) => {
  const [cl100k_base, o200k_base] = encodings.map((encoding) => [...encoding.encode_ordinary(text)]);
  return { text, cl100k_base, o200k_base };
});
writeFileSync(new URL("../../testdata/vectors.json.gz", import.meta.url), gzipSync(JSON.stringify({ vectors, sweep }), { level: 9 }));
console.log(`${vectors.length} texts, ${sweep.length} blocks`);
