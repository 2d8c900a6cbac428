"""Clearance: a ReAct agent that holds what matters until the right people have cleared exactly that call.

    START → receive → model ⇄ dispatch → tools → dispatch …

    receive    opens the turn in the journal, withdraws what was left open, repairs the transcript      graph.py
    model      calls the chat model and stores its message; run again, returns the stored one           graph.py, model.py
    dispatch   opens a request for every action of the message, then sends what comes next              graph.py
    tools      runs one call; an action goes through the gate, which asks by `interrupt()`              tools/, clearance/

`clearance/` is the gate and knows nothing of banks; `bank/` is the sample domain, replace it with yours; `db/` is the only
place that knows two dialects; `server/` runs beside the graph on the server; `cli/` is the `clearance` command.
Importing does nothing: `wiring.py` reads the settings and puts the parts together, once, at the first use.
"""
