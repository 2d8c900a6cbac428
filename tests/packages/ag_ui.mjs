import { LangGraphAgent } from "@ag-ui/langgraph";
import { randomUUID } from "node:crypto";
import { ANA, BEN, OLGA, refused, tell, url, words, YES } from "./told.mjs";

// What CopilotKit runs on its server: each run sends the whole state as input, an answer beside it.
const threadId = randomUUID();
const said = [{ id: randomUUID(), role: "user", content: words }];
const agent = (token, messages = said) =>
  new LangGraphAgent({ graphId: "clearance", deploymentUrl: url, langsmithApiKey: token, threadId, initialMessages: messages });

async function run(who, parameters = {}) {
  let asked, failed;
  await who.runAgent(parameters, {
    onCustomEvent: ({ event }) => { if (event.name === "on_interrupt") asked = event.value; },
    onRunErrorEvent: ({ event }) => { failed = event.message; },
  });
  if (failed) throw new Error(failed);
  return typeof asked === "string" ? JSON.parse(asked) : asked;
}

const asked = await run(agent(OLGA));
const resume = { forwardedProps: { command: { resume: { ...YES, id: asked.id, digest: asked.digest } } } };
await run(agent(ANA), resume);
tell({ thread_id: threadId, asked: asked.message, again: await refused(() => run(agent(BEN), resume)) });
