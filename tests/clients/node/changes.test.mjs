import assert from "node:assert/strict";
import { test } from "node:test";
import * as fleet from "./fleet.mjs";

const ollama = fleet.client();

test("create", async () => {
  await fleet.withNewName(async (model) => {
    const answer = await ollama.create({
      model,
      from: fleet.SMOL,
      system: "Be a pirate.",
      parameters: { temperature: 0, num_predict: 5 },
    });
    assert.equal(answer.status, "success");
    assert.equal((await ollama.show({ model })).system, "Be a pirate.");
    const chat = await ollama.chat({ model, messages: fleet.userMessage(fleet.QUESTION) });
    assert.equal(chat.eval_count, 5);
  });
});

test("create streams", async () => {
  await fleet.withNewName(async (model) => {
    const messages = [{ role: "user", content: "Hi." }];
    const stream = await ollama.create({ model, from: fleet.SMOL, messages, stream: true });
    assert.equal((await fleet.collected(stream)).at(-1).status, "success");
    assert.deepEqual((await ollama.show({ model })).messages, messages);
  });
});

test("create under a served name", async () => {
  const create = ollama.create({ model: fleet.SMOL, from: fleet.SMOL, system: "Be a pirate." });
  await assert.rejects(create, { status_code: 400, message: new RegExp(fleet.SMOL) });
});

test("copy and delete", async () => {
  await fleet.withNewName(async (model) => {
    assert.equal((await ollama.copy({ source: fleet.SMOL, destination: model })).status, "success");
    const names = (await ollama.list()).models.map((each) => each.name);
    assert.ok(names.includes(`${model}:latest`));
    assert.equal((await ollama.delete({ model })).status, "success");
    await assert.rejects(ollama.show({ model }), { status_code: 404 });
  });
});

test("copy of a missing model", async () => {
  const copy = ollama.copy({ source: "nope", destination: "other" });
  await assert.rejects(copy, { status_code: 404, message: 'model "nope" not found' });
});

test("delete of a served model", async () => {
  await assert.rejects(ollama.delete({ model: fleet.SMOL }), { status_code: 400, message: new RegExp(fleet.SMOL) });
});

test("pull", async () => {
  assert.equal((await ollama.pull({ model: fleet.SMOL })).status, "success");
});

test("pull streams", async () => {
  const stream = await ollama.pull({ model: fleet.SMOL, stream: true });
  assert.equal((await fleet.collected(stream)).at(-1).status, "success");
});

test("pull of an unknown model", async () => {
  const words = /^pull model manifest: file does not exist/;
  await assert.rejects(ollama.pull({ model: "nope" }), { status_code: 500, message: words });
  await assert.rejects(async () => fleet.collected(await ollama.pull({ model: "nope", stream: true })), {
    message: words,
  });
});

test("push fails with a reason", async () => {
  await assert.rejects(ollama.push({ model: fleet.SMOL }), { message: /push/ });
  await assert.rejects(async () => fleet.collected(await ollama.push({ model: fleet.SMOL, stream: true })), {
    message: /push/,
  });
});
