import { useStream } from "@langchain/langgraph-sdk/react";
import { createElement } from "react";
import renderer from "react-test-renderer";
import { ANA, BEN, OLGA, tell, until, url, words, YES } from "./told.mjs";

// The older hook, which agent-chat-ui is made with: it answers with a run of its own.
function page(apiKey, threadId) {
  let stream, failed, thread = threadId;
  function Shown() {
    stream = useStream({
      assistantId: "clearance", apiUrl: url, apiKey, threadId, fetchStateHistory: true,
      onThreadId: (id) => { thread = id; }, onError: (error) => { failed = error; },
    });
    return null;
  }
  renderer.create(createElement(Shown));
  return { stream: () => stream, thread: () => thread, failed: () => failed };
}

const asking = page(OLGA, null);
await until(() => asking.stream());
void asking.stream().submit({ messages: [{ type: "human", content: words }] });
const asked = await until(() => asking.stream().interrupt);
const thread_id = asking.thread();

const deciding = page(ANA, thread_id), late = page(BEN, thread_id);
await until(() => deciding.stream()?.interrupt && late.stream()?.interrupt);
const answer = (who) => void who.stream().submit(undefined, { command: { resume: { [asked.id]: YES } } });
answer(deciding);
await until(() => deciding.stream().messages.find((one) => String(one.content).includes("Transferred")));
answer(late);
tell({ thread_id, asked: asked.value.message, again: String((await until(() => late.failed())).message) });
