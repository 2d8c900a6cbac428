"""The gate in a graph: the four steps, receive → model ⇄ dispatch → tools → dispatch, and the ways in.

own_graph       the way into a `StateGraph` of one's own: `Clearance.add_to`
middleware      the way into `create_agent` and deep agents: `Clearance.middleware`

steps           the four steps, whatever graph they stand in
step_receive    begins a run: whose words, which turn, the true transcript
step_model      the model speaks, and what it said is stored
step_dispatch   sends what comes next
step_tools      runs one call, a look-up or an action
state           what a thread keeps of ours, and what the steps send one another
messages        the messages of a thread, of which its checkpoints keep what is new
forged          what stands in a state and was not so: noted, told, put right

hearing         whose words stand in the thread
run_input       what a run's own input brought
said_before     what an agent inside said to words that it is handed again
identity        who runs this
place           where in its thread it runs, when an agent is nested
transcript      the messages as the journal knows them
beginning       how many of them stand as they were found true before

toolbox         what the model may call
lookups         tools that change nothing, run at once
looked_up       what came of one, as an update of the thread's state
lookups_elsewhere  those of MCP servers
action_tools    every action as a tool that goes through the gate
reach           whether a graph has the steps in it, and so is gated
guard           tells the gate whether a run brought an answer, where no server does
"""
