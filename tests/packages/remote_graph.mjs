import { Client } from "@langchain/langgraph-sdk";
import { Command } from "@langchain/langgraph";
import { RemoteGraph } from "@langchain/langgraph/remote";
import { ANA, BEN, OLGA, refused, tell, url, words, YES } from "./told.mjs";

const { thread_id } = await new Client({ apiUrl: url, apiKey: OLGA }).threads.create();
const config = { configurable: { thread_id } };
const graph = (apiKey) => new RemoteGraph({ graphId: "clearance", url, apiKey });

await graph(OLGA).invoke({ messages: [{ role: "user", content: words }] }, config).catch(() => {});
const [asked] = (await graph(ANA).getState(config)).tasks.flatMap((task) => task.interrupts);
const answer = (who) => graph(who).invoke(new Command({ resume: { [asked.interrupt_id]: YES } }), config);
await answer(ANA);
tell({ thread_id, asked: asked.value.message, again: await refused(() => answer(BEN)) });
