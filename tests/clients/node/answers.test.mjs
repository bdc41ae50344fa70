import assert from "node:assert/strict";
import { test } from "node:test";
import * as fleet from "./fleet.mjs";

const ollama = fleet.client();

test("chat", async () => {
  const answer = await ollama.chat({
    model: fleet.SMOL,
    messages: fleet.userMessage(fleet.QUESTION),
    options: fleet.GREEDY,
  });
  assert.equal(answer.message.content, fleet.ANSWER);
  assert.equal(answer.done_reason, "stop");
});

test("chat streams", async () => {
  const stream = await ollama.chat({
    model: fleet.SMOL,
    messages: fleet.userMessage(fleet.QUESTION),
    options: fleet.GREEDY,
    stream: true,
  });
  const chunks = await fleet.collected(stream);
  assert.equal(chunks.map((chunk) => chunk.message.content).join(""), fleet.ANSWER);
  assert.equal(chunks.at(-1).done, true);
});

for (const stream of [false, true]) {
  test(`chat calls a tool, stream ${stream}`, async () => {
    const answer = await ollama.chat({
      model: fleet.THINKER,
      messages: fleet.userMessage(fleet.WEATHER_QUESTION),
      tools: [fleet.TOOL],
      stream,
    });
    const parts = stream ? await fleet.collected(answer) : [answer];
    const calls = parts.flatMap((part) => part.message.tool_calls ?? []);
    assert.deepEqual(
      calls.map((call) => [call.function.name, call.function.arguments]),
      [["get_weather", { city: "Paris" }]],
    );
  });

  test(`chat thinks, stream ${stream}`, async () => {
    const answer = await ollama.chat({
      model: fleet.THINKER,
      messages: fleet.userMessage(fleet.HARD_QUESTION),
      think: true,
      stream,
    });
    const parts = stream ? await fleet.collected(answer) : [answer];
    assert.equal(parts.map((part) => part.message.thinking ?? "").join(""), fleet.THOUGHTS);
    assert.equal(parts.map((part) => part.message.content).join(""), "It is 391.");
  });
}

for (const think of ["high", "deepest"]) {
  test(`chat thinks, think ${think}`, async () => {
    const answer = await ollama.chat({
      model: fleet.THINKER,
      messages: fleet.userMessage(fleet.HARD_QUESTION),
      think,
      stream: false,
    });
    assert.equal(answer.message.thinking, fleet.THOUGHTS);
    assert.equal(typeof answer.prompt_eval_cached_count, "number");
  });
}

test("chat answers by a schema", async () => {
  const schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
  const answer = await ollama.chat({
    model: fleet.SMOL,
    messages: fleet.userMessage(fleet.QUESTION),
    format: schema,
    options: { temperature: 0, num_predict: 60 },
  });
  assert.deepEqual(JSON.parse(answer.message.content), { city: "Paris" });
});

test("generate", async () => {
  const answer = await ollama.generate({ model: fleet.SMOL, prompt: fleet.QUESTION, options: fleet.GREEDY });
  assert.equal(answer.response, fleet.ANSWER);
  assert.ok(answer.context.length > 0);
});

test("generate streams", async () => {
  const stream = await ollama.generate({
    model: fleet.SMOL,
    prompt: fleet.QUESTION,
    options: fleet.GREEDY,
    stream: true,
  });
  const chunks = await fleet.collected(stream);
  assert.equal(chunks.map((chunk) => chunk.response).join(""), fleet.ANSWER);
});

test("load and unload", async () => {
  const loaded = await ollama.generate({ model: fleet.SMOL, prompt: "", keep_alive: -1 });
  assert.equal(loaded.done_reason, "load");
  const unloaded = await ollama.chat({ model: fleet.SMOL, messages: [], keep_alive: 0 });
  assert.equal(unloaded.done_reason, "unload");
});

test("a load that streams ends", async () => {
  const stream = await ollama.generate({ model: fleet.SMOL, prompt: "", stream: true });
  assert.equal((await fleet.collected(stream)).at(-1).done_reason, "load");
});

test("embed", async () => {
  const answer = await ollama.embed({ model: fleet.VECTORS, input: ["a sheep", "a wheel"], dimensions: 8 });
  assert.deepEqual(
    answer.embeddings.map((vector) => vector.length),
    [8, 8],
  );
});

test("embeddings", async () => {
  const answer = await ollama.embeddings({ model: fleet.VECTORS, prompt: "a sheep" });
  assert.equal(answer.embedding.length, 64);
});

for (const [call, status, words] of [
  [() => ollama.chat({ model: "nope", messages: fleet.userMessage("Hi") }), 404, /^model 'nope' not found/],
  [() => ollama.chat({ model: "nope", messages: fleet.userMessage("Hi"), stream: true }), 404, /^model 'nope' not found/],
  [() => ollama.generate({ model: "nope", prompt: "Hi" }), 404, /^model 'nope' not found/],
  [() => ollama.embed({ model: "nope", input: "Hi" }), 404, /^model "nope" not found/],
  [() => ollama.chat({ model: fleet.SMOL, messages: fleet.userMessage("Hi"), think: true }), 400, /thinking/],
  [() => ollama.chat({ model: fleet.SMOL, messages: fleet.userMessage("Hi"), think: 5 }), 400, /^think must be a boolean or string$/],
]) {
  test(`an error has a status and the server's text: ${call}`, async () => {
    await assert.rejects(call, { name: "ResponseError", status_code: status, message: words });
  });
}
