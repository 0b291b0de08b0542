#!/usr/bin/env node
// Opens an exported GGUF file in llama.cpp and compares the ids of prompts and greedy continuations with ours.
//
//   npm install node-llama-cpp        # in a folder of your own; brings llama.cpp for the CPU along
//   NODE_PATH=…/node_modules node scripts/verify/gguf.mjs CHECKPOINT MODEL.gguf [PROGRAM]
//
// PROGRAM is smollm3 (default: the one in PATH). Exits with 1 if anything differs.
import { execFileSync } from "node:child_process";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [checkpoint, file, program = "smollm3"] = process.argv.slice(2);
// `import` does not look into NODE_PATH.
const entry = createRequire(import.meta.url).resolve.paths("node-llama-cpp")
  .concat((process.env.NODE_PATH ?? "").split(path.delimiter).filter(Boolean))
  .map((folder) => path.join(folder, "node-llama-cpp/dist/index.js"))
  .find((candidate) => { try { return createRequire(import.meta.url).resolve(candidate); } catch { return false; } });
if (!file || !entry) {
  console.error("usage: NODE_PATH=…/node_modules gguf.mjs CHECKPOINT MODEL.gguf [PROGRAM]; node-llama-cpp must be in NODE_PATH");
  process.exit(2);
}
const { getLlama } = await import(pathToFileURL(entry).href);

const NEW_TOKENS = 24;
const PROMPTS = [
  "What is 27 + 15?",
  "The capital of France is",
  "# Usage\n\n```rust\nfn main() {",
  "It's 12345 words,\r\n\tthey'LL say naïve Ελληνικά 漢字 한국어 👩‍👩‍👧",
  "<|im_start|>user\nWhat is 2 + 3?<|im_end|>\n<|im_start|>assistant\n",
];

const llama = await getLlama({ gpu: false, build: "never", logLevel: "error" });
const model = await llama.loadModel({ modelPath: file });
let differences = 0;
for (const prompt of PROMPTS) {
  const context = await model.createContext({ contextSize: 256, batchSize: 256 });
  const sequence = context.getSequence();
  // As llama.cpp's own programs do, and as the tokenizer's post-processor does here.
  const begin = model.tokens.shouldPrependBosToken ? [model.tokens.bos] : [];
  const ids = [...begin, ...model.tokenize(prompt, true)];
  const answer = [];
  for await (const token of sequence.evaluate(ids, { temperature: 0 })) {
    if (model.isEogToken(token) || answer.length === NEW_TOKENS) break;
    answer.push(token);
  }
  await context.dispose();
  // `generate` prints the prompt, then whole characters only, then a line's end.
  const theirs = `${prompt}${model.detokenize(answer, false).replaceAll("\u{fffd}", "")}\n`;
  const ours = execFileSync(program, ["generate", checkpoint, "--prompt", prompt, "--max-new-tokens", `${NEW_TOKENS}`,
    "--temperature", "0"], { encoding: "utf8" });
  const same = ours === theirs;
  differences += same ? 0 : 1;
  console.log(`${same ? "same" : "DIFFERENT"}: ${JSON.stringify(prompt)}\n  llama.cpp: ${JSON.stringify(theirs)}\n  smollm3:   ${JSON.stringify(ours)}`);
}
process.exit(differences ? 1 : 0);
