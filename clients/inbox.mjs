/*
Say something, list what is pending, answer it: the three scripts beside this one, in JavaScript.

npm install --prefix clients
node clients/inbox.mjs say "transfer 5,000 from A-2001 to A-2003"
node clients/inbox.mjs pending
node clients/inbox.mjs resume THREAD INTERRUPT approve
node clients/inbox.mjs resume THREAD INTERRUPT reject "not before Monday"
node clients/inbox.mjs resume THREAD INTERRUPT edit amount=4500
*/

import { Client } from "@langchain/langgraph-sdk";

const client = new Client({
  apiUrl: process.env.LANGGRAPH_URL ?? "http://127.0.0.1:2024",
  apiKey: process.env.CLEARANCE_TOKEN ?? null, // goes out as x-api-key
});

async function say(message) {
  const { thread_id } = await client.threads.create();
  const input = { messages: [{ role: "user", content: message }] };
  await tell(thread_id, await client.runs.wait(thread_id, "clearance", { input }));
}

async function pending() {
  for (let offset = 0, threads; ; offset += threads.length) {
    const metadata = { graph_id: "clearance" };
    threads = await client.threads.search({ status: "interrupted", metadata, sortBy: "thread_id", limit: 100, offset });
    if (threads.length === 0) return;
    for (const thread of threads) for (const interrupt of Object.values(thread.interrupts).flat()) held(thread.thread_id, interrupt);
  }
}

async function resume(threadId, interruptId, decision, ...rest) {
  const answers = {
    approve: () => ({ approved: true }),
    reject: () => ({ approved: false, reason: rest[0] }),
    edit: () => ({ approved: true, edited_args: Object.fromEntries(rest.map((change) => change.split(/=(.*)/s, 2))) }),
  };
  if (!Object.hasOwn(answers, decision)) throw new Error("the decision is approve, reject REASON or edit NAME=VALUE …");
  const command = { resume: { [interruptId]: answers[decision]() } };
  try {
    await tell(threadId, await client.runs.wait(threadId, "clearance", { command }));
  } catch (error) {
    if (error.status === undefined) throw error;
    process.exitCode = 1;
    console.error(`refused: ${error.message}`); // it decided nothing, and the question stands under its id
  }
}

async function tell(threadId, values) {
  const interrupts = values.__interrupt__ ?? [];
  // The next question of the turn; or the same, where it needs another person's approval.
  for (const interrupt of interrupts) held(threadId, interrupt);
  if (interrupts.length === 0) console.log(values.messages.at(-1).content);
}

function held(threadId, { id, value }) {
  console.log(`thread ${threadId}  interrupt ${id}`);
  console.log(`  ${value.action}: ${value.message}  (risk: ${value.risk_level})`);
}

const [command, ...rest] = process.argv.slice(2);
const commands = { say, pending, resume };
if (!Object.hasOwn(commands, command)) {
  console.error("node clients/inbox.mjs say MESSAGE | pending | resume THREAD INTERRUPT approve|reject|edit …");
  process.exit(2);
}
await commands[command](...rest);
