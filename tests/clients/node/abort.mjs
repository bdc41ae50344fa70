// Streams until a line comes in, then aborts and stays alive: the server must notice without the process's end.
import { once } from "node:events";
import * as fleet from "./fleet.mjs";

const [, , method, how] = process.argv;
const ollama = fleet.client();
const input = method === "chat" ? { messages: fleet.userMessage(fleet.LONG_QUESTION) } : { prompt: fleet.LONG_QUESTION };
const stream = await ollama[method]({ model: fleet.THINKER, stream: true, ...input });
const command = once(process.stdin, "data");
let aborted = false;
command.then(() => {
  aborted = true;
  if (how === "client") ollama.abort();
  else stream.abort();
});
try {
  let count = 0;
  for await (const part of stream) if (++count === 1) console.log("streaming");
} catch (error) {
  console.log(aborted ? error.name : `not aborted: ${error}`);
}
await once(process.stdin, "end");
