import assert from "node:assert/strict";
import { test } from "node:test";

import { columnsFound, eventsOf, problem, records } from "./csv_files.mjs";
import { CsvParser, findSeparator, textOf } from "../../static/js/csv.js";
import { isHeader } from "../../static/js/columns.js";

const FILES = [
  {
    name: "plain",
    text: "a,b\n1,2\n",
    rows: [
      [1, "a", "b"],
      [2, "1", "2"],
    ],
  },
  {
    name: "without a last line end",
    text: "a,b\n1,2",
    rows: [
      [1, "a", "b"],
      [2, "1", "2"],
    ],
  },
  {
    name: "CRLF",
    text: "a,b\r\n1,2\r\n",
    rows: [
      [1, "a", "b"],
      [2, "1", "2"],
    ],
  },
  {
    name: "CR",
    text: "a,b\r1,2\r",
    rows: [
      [1, "a", "b"],
      [2, "1", "2"],
    ],
  },
  { name: "a byte order mark", text: '\ufeff"a",b\n', rows: [[1, "a", "b"]] },
  {
    name: "semicolons",
    text: "a;b\n1,5;2\n",
    rows: [
      [1, "a", "b"],
      [2, "1,5", "2"],
    ],
  },
  {
    name: "tabs",
    text: "a\tb\n1\t2\n",
    rows: [
      [1, "a", "b"],
      [2, "1", "2"],
    ],
  },
  { name: "separators in quotes", text: '"a,b;;;",c\n', rows: [[1, "a,b;;;", "c"]] },
  {
    name: "line ends in quotes",
    text: 'a,"b\r\nc"\n1,2\n',
    rows: [
      [1, "a", "b\r\nc"],
      [2, "1", "2"],
    ],
  },
  {
    name: "doubled quotes",
    text: 'a,"say ""x"""\n"""",""\n',
    rows: [
      [1, "a", 'say "x"'],
      [2, '"', ""],
    ],
  },
  {
    name: "empty fields",
    text: ",\n1,\n,2",
    rows: [
      [1, "", ""],
      [2, "1", ""],
      [3, "", "2"],
    ],
  },
  {
    name: "blank lines, which count",
    text: "a\n\n\r\n1\n",
    rows: [
      [1, "a"],
      [4, "1"],
    ],
  },
  { name: "nothing", text: "", rows: [] },
  { name: "spaces, which are part of a field", text: "a , b\n", rows: [[1, "a ", " b"]] },
];

for (const { name, text, rows } of FILES) {
  test(`reads ${name}, whole and in pieces`, async () => {
    for (const size of [text.length || 1, 1, 2, 3]) {
      const found = await records(text, size);
      assert.deepEqual(
        found.map(({ row, fields }) => [row, ...fields]),
        rows,
        `pieces of ${size}`,
      );
    }
  });
}

for (const [name, text, message] of [
  ["an open quote", 'a,b\n1,"2\n3,4\n', "row 2, column 2: a quote is opened here and never closed"],
  ["text after a quote", 'a\n"1"2\n', "row 2, column 1: expected a separator after the closing quote, got '2'"],
  ["a quote in the middle", 'a,b\n1,2"3\n', "row 2, column 2: a quote inside a field that is not in quotes"],
  [
    "an endless field",
    `a\n"${"x".repeat(2 ** 20 + 1)}`,
    "row 2, column 1: a field of more than 1048576 characters; is a quote missing?",
  ],
]) {
  test(`refuses ${name}`, async () => {
    for (const size of [text.length, 4096]) assert.equal(await problem(() => records(text, size)), message);
  });
}

test("finds the separator outside quotes, and takes a comma where there is none", () => {
  assert.equal(findSeparator('"a;b;c",d,e\n;;;;'), ",");
  assert.equal(findSeparator("a;b,c;d"), ";");
  assert.equal(findSeparator("a\tb"), "\t");
  assert.equal(findSeparator("a\n1;2"), ",");
});

test("a record is given out as soon as its line has ended", () => {
  const parser = new CsvParser(",");
  assert.deepEqual(parser.push("1,2\n3"), [{ row: 1, fields: ["1", "2"] }]);
  assert.deepEqual(parser.push(",4\r"), [{ row: 2, fields: ["3", "4"] }]);
  assert.deepEqual(parser.push("\n"), []);
});

test("a file is decoded piece by piece, and must be UTF-8", async () => {
  const text = "naïve,😀\n".repeat(50_000);
  let read = "";
  let pieces = 0;
  for await (const piece of textOf(new Blob([text]))) {
    read += piece;
    pieces += 1;
  }
  assert.equal(read, text);
  assert.ok(pieces > 1);
  const latin = new Blob([new Uint8Array([0x61, 0xe9, 0x0a])]);
  assert.match(
    await problem(async () => {
      for await (const _ of textOf(latin));
    }),
    /not UTF-8/,
  );
});

test("a header is a row that has more than values", () => {
  assert.equal(isHeader(["a", "1"]), true);
  assert.equal(isHeader(["1", "-2.5e3", "true", "", "NaN"]), false);
});

const SAMPLE = [{ name: "samples", dtype: "float32", shape: [3] }];
const PAIR = [
  { name: "mask", dtype: "bool", shape: [2] },
  { name: "count", dtype: "int64", shape: [] },
];
const OPTIONAL = [
  { name: "x", dtype: "float32", shape: [2] },
  { name: "b", dtype: "float32", shape: [], optional: true },
];

for (const [name, inputs, text, events] of [
  ["by name, in any order", SAMPLE, "samples[2],samples[0],samples[1]\n3,1,2", [{ data: [1, 2, 3] }]],
  ["by other spellings", SAMPLE, "Samples_0,samples.1,samples2\n1,2,3", [{ data: [1, 2, 3] }]],
  ["in order where the names say nothing", SAMPLE, "ax,ay,az\n1,2,3", [{ data: [1, 2, 3] }]],
  ["in order without a header", SAMPLE, "1,2,3\n4,5,6", [{ data: [1, 2, 3] }, { data: [4, 5, 6] }]],
  ["beside a time and a label", SAMPLE, "time,ax,ay,az,label\n0.1,1,2,3,walk", [{ data: [1, 2, 3] }]],
  ["with a key", SAMPLE, "key,ax,ay,az\nw1,1,2,3", [{ data: [1, 2, 3], key: "w1" }]],
  [
    "of several inputs",
    PAIR,
    "mask[0],mask[1],count\ntrue,0,9007199254740993",
    [{ data: { mask: [true, false], count: 9007199254740993n } }],
  ],
  ["a whole tensor in a field", SAMPLE, 'samples\n"[1, 2, 3]"\n4 5 6', [{ data: [1, 2, 3] }, { data: [4, 5, 6] }]],
  [
    "an optional input that is there",
    OPTIONAL,
    "x_0,x_1,b\n1,2,3\n1,2,",
    [{ data: { x: [1, 2], b: 3 } }, { data: { x: [1, 2] } }],
  ],
  ["an optional input that is not", OPTIONAL, "p,q\n1,2", [{ data: { x: [1, 2] } }]],
  [
    "two dimensions",
    [{ name: "m", dtype: "int8", shape: [2, 2] }],
    "m[1][0],m_1_1,m[0][1],m[0]\n1,2,3,4",
    [{ data: [4n, 3n, 1n, 2n] }],
  ],
  [
    "a dynamic dimension",
    [{ name: "x", dtype: "float32", shape: [null, 2] }],
    "1,2,3,4",
    [{ data: { shape: [2, 2], data: [1, 2, 3, 4] } }],
  ],
  ["a single number", [{ name: "x", dtype: "float64", shape: [] }], "x\n1.5", [{ data: 1.5 }]],
  ["texts", [{ name: "s", dtype: "string", shape: [2] }], "first,last\nAda,Lovelace", [{ data: ["Ada", "Lovelace"] }]],
]) {
  test(`takes columns ${name}`, async () => assert.deepEqual(await eventsOf(text, inputs), events));
}

test("says which columns are not used", async () => {
  const plan = await columnsFound("time,samples[0],samples[1],samples[2],note\n", SAMPLE);
  assert.deepEqual(plan.ignored, ["time", "note"]);
});

test("takes the columns that the user picks", async () => {
  const chosen = new Map([
    ["samples[0]", 3],
    ["samples[1]", 1],
    ["samples[2]", 0],
  ]);
  assert.deepEqual(await eventsOf("a,b,c,d\n1,2,3,4", SAMPLE, chosen), [{ data: [4, 2, 1] }]);
});

for (const [name, inputs, text, message] of [
  [
    "a missing column",
    SAMPLE,
    "samples[0],samples[2],note\n",
    "row 1: no column for samples[1]; the file has samples[0], samples[2], note",
  ],
  [
    "too few columns",
    SAMPLE,
    "ax,ay\n",
    "row 1: no columns for samples[0] to samples[2] (float32[3]): expected these names, or exactly 3 columns in order; the file has ax, ay",
  ],
  [
    "too few values",
    SAMPLE,
    "1,2\n",
    "row 1: no columns for samples[0] to samples[2] (float32[3]): expected these names, or exactly 3 columns in order; the file has 2 columns without names",
  ],
  [
    "a missing input",
    PAIR,
    "mask_0,mask_1\n",
    "row 1: no columns for count (int64[]): expected these names, or exactly 1 column in order; the file has mask_0, mask_1",
  ],
  [
    "two columns of one name",
    SAMPLE,
    "samples[0],samples[1],samples[1],samples[2]\n",
    "row 1, column 3: two columns are called 'samples[1]'",
  ],
  [
    "a text for a number",
    SAMPLE,
    `ax,ay,az\n${"1,2,3\n".repeat(5)}1,2,abc\n`,
    "row 7, column 3 (az): expected a number, got 'abc'",
  ],
  ["an empty field", SAMPLE, "ax,ay,az\n1,,3\n", "row 2, column 2 (ay): expected a number, got nothing"],
  [
    "a decimal comma",
    SAMPLE,
    "ax;ay;az\n1,5;2;3\n",
    "row 2, column 1 (ax): expected a number, got '1,5': decimals are written with a point",
  ],
  ["NaN", SAMPLE, "1,NaN,3\n", "row 1, column 2: expected a number, got 'NaN': JSON has none of these"],
  ["a short row", SAMPLE, "ax,ay,az\n1,2\n", "row 2: expected 3 columns, got 2"],
  [
    "an integer with a fraction",
    PAIR,
    "mask_0,mask_1,count\n1,1,2.5\n",
    "row 2, column 3 (count): expected an integer, got '2.5'",
  ],
  [
    "a number out of range",
    [{ name: "x", dtype: "uint8", shape: [] }],
    "x\n256\n",
    "row 2, column 1 (x): '256' does not fit uint8",
  ],
]) {
  test(`tells of ${name}`, async () => assert.equal(await problem(() => eventsOf(text, inputs)), message));
}
