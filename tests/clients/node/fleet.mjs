// The fleet's addresses and names for the tests: test_npm.py starts both.
import { randomBytes } from "node:crypto";
import { Ollama } from "ollama";

export const [SMOL, THINKER, VECTORS] = ["smol", "thinker", "vectors"];
export const QUESTION = "What is the capital of France?";
export const ANSWER = "The capital of France is Paris.";
export const WEATHER_QUESTION = "What is the weather in Paris?";
export const HARD_QUESTION = "What is 17 times 23?";
export const LONG_QUESTION = "Count for ever.";
export const THOUGHTS = "Let me think.";
export const GREEDY = { temperature: 0, num_predict: 24 };
export const TOOL = {
  type: "function",
  function: {
    name: "get_weather",
    description: "Tells the weather.",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};

export function client() {
  return new Ollama({ host: process.env.DROVER_TEST_URL });
}

export function userMessage(content) {
  return [{ role: "user", content }];
}

export async function collected(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return parts;
}

// Runs `use` with a name that no worker serves, and deletes the model created under it.
export async function withNewName(use) {
  const model = `new-${randomBytes(4).toString("hex")}`;
  try {
    await use(model);
  } finally {
    await client().delete({ model }).catch(() => {});
  }
}
