import assert from "node:assert/strict";
import { test } from "node:test";
import * as fleet from "./fleet.mjs";

const ollama = fleet.client();

test("list", async () => {
  const { models } = await ollama.list();
  const names = models.map((model) => model.name);
  for (const name of [fleet.SMOL, fleet.THINKER, fleet.VECTORS]) assert.ok(names.includes(`${name}:latest`));
  assert.ok(models.every((model) => model.digest.length === 64));
  assert.ok(models.every((model) => !Number.isNaN(Date.parse(model.modified_at))));
});

test("ps", async () => {
  await ollama.generate({ model: fleet.SMOL, prompt: "" });
  const { models } = await ollama.ps();
  const smol = models.find((model) => model.name === `${fleet.SMOL}:latest`);
  assert.equal(smol.context_length, 2048);
  assert.ok(Date.parse(smol.expires_at) > Date.now());
});

test("show", async () => {
  const shown = await ollama.show({ model: fleet.SMOL });
  assert.equal(shown.model_info["general.architecture"], "llama");
  assert.deepEqual(shown.capabilities, ["completion", "decision"]);
  assert.equal(shown.template_source, "gguf_chat_template");
  assert.equal(shown.details.parameter_size, "134.52M");
});

test("version", async () => {
  assert.equal((await ollama.version()).version, "0.40.12");
});

test("show of a missing model", async () => {
  await assert.rejects(ollama.show({ model: "nope" }), { status_code: 404, message: "model 'nope:latest' not found" });
});

test("systemone answers a question", async () => {
  const answer = await ollama.systemone({
    model: fleet.SMOL,
    state: "It rains in Paris.",
    questions: { wet: { type: "noul", instructions: "It is wet in Paris." } },
  });
  assert.ok(answer.answers.wet.noul > 0 && answer.answers.wet.noul < 1);
});
