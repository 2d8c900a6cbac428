"""What passes: nothing with an effect runs except through `gate`. Knows no server and no graph.

gate              every effect passes it: ask, record, carry out
caller            who comes to it with a call or an answer
writing           its transactions, under the lock of the audit head

listing           what an MCP server lists, against what was taken of it
intake            what enters the journal: turns, and the model's messages
opening           a request for every action of a plan
standing          how a plan stands: what is left to do with it, in order
execution         the checks right before an effect, in the transaction that does it or starts it elsewhere
local_execution   one effect in our database, and its receipt
ended             an action that ended the transaction it ran in: found, and not done again
elsewhere         external actions at work: facts, performing, look-ups, on a loop of their own
flights           an external action from its clearance to its receipt: waited for, looked into, sent again
looking           what was read elsewhere, known inside a transaction
performing        the loop, the threads and the places that external actions run in
settling          how an external action's states change, each in a transaction
recording         what happened elsewhere, in our own tables: with its receipt
testimony         what a person says became of one of which nobody knows: whether they may
plan_execution    the cleared requests of a decided plan, in order, none of them tried for ever
ending            what ends a turn beside its own words: a cancel, a deleted thread, too many tries
freeze            the one switch

policy            what must be asked, of whom: `policy.toml`
conditions        the conditions in it: CEL, type-checked against each action
testable          what a condition can test: names, types and values of arguments and facts
judging           facts and policy together, now

question          how a person is asked, by the only `interrupt()`
door              an answer as it reaches the server, before its run
answers           what an answer means
decision          whether this person may decide this, now, so
taking            an answer of a run or of the desk: recorded, or refused

transitions       how a request changes state, with its audit event
losses            what a part that is lost does to the rest of its plan, and a no to its turn
deadlines         what time does
finished          an answer of the model that broke off: its calls do nothing
unread            arguments that nobody can read

records           what the graph and the desk read of the journal, each at one moment
twins             exactly the same call, done, asked or rejected before
notices           what the gate itself tells in a thread
"""
