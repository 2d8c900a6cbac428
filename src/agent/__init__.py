"""Clearance: a ReAct agent that holds what matters until the right people have cleared exactly that call.

    START → receive → model ⇄ dispatch → tools → dispatch …

    receive    opens the turn in the journal, withdraws what was left open, repairs the transcript
    model      calls the chat model and stores its message; run again, returns the stored one (model.py)
    dispatch   opens a request for every action of the message, then sends what comes next
    tools      runs one call; an action goes through the gate, which asks by `interrupt()` (tools/, clearance/)

The nodes stand in `graph.py`; `transcript.py` keeps what the model reads true; `identity.py` tells who runs this.
`clearance/` is the gate and knows nothing of banks; `bank/` is the sample domain, replace it with yours; `db/` is the
only place that knows two dialects; `server/` runs beside the graph on the server; `cli/` is the `clearance` command.
`loglines.py` keeps what comes from outside from making up lines of the log.
Importing does nothing: `wiring.py` reads the settings and puts the parts together, once, at the first use.
"""
