import { useStream } from "@langchain/react";
import { createElement } from "react";
import renderer from "react-test-renderer";
import { ANA, BEN, OLGA, refused, tell, until, url, words, YES } from "./told.mjs";

// A page: it shows a thread, and gives what its hook gives.
function page(apiKey, threadId) {
  let stream, thread = threadId;
  function Shown() {
    stream = useStream({ assistantId: "clearance", apiUrl: url, apiKey, threadId, onThreadId: (id) => { thread = id; } });
    return null;
  }
  renderer.create(createElement(Shown));
  return { stream: () => stream, thread: () => thread };
}

const asking = page(OLGA, null);
await until(() => asking.stream());
void asking.stream().submit({ messages: [{ type: "human", content: words }] });
const asked = await until(() => asking.stream().interrupts[0]);
const thread_id = await until(() => asking.thread());

const deciding = page(ANA, thread_id), late = page(BEN, thread_id);
await until(() => deciding.stream()?.interrupts[0] && late.stream()?.interrupts[0]);
const answer = (who) => who.stream().respond(YES, { interruptId: asked.id });
await answer(deciding);
const said = await until(() => deciding.stream().messages.find((one) => String(one.content).includes("Transferred")));
tell({ thread_id, asked: asked.value.message, done: said.content, again: await refused(() => answer(late)) });
