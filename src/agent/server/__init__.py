"""What runs beside the graph on the server.

Who gets in
    auth        a handler for each resource and action     wall        who may do what, before anything runs
    tokens      who somebody is                            orders      what a run may ask for
    closed      routes that nobody may reach               people      who calls a route of ours
    ids         ids in one spelling, and belonging together  paths     a path as the router reads it
    sizes       how much anybody may send                  unfinished  how many runs one person may have
    lifetimes   a connection ends with its token

What is served
    app         the HTTP app, and what starts with it      api         the approvals API
    inbox/      pages on which people decide               shapes      our values as the contract has them
    request     one request as both show it                talk        the conversation that led to it
    deciding    a decision of whoever is signed in         received    when a request came
    failures    what callers are told when something fails

What goes on by itself
    recovery    lost threads and unfinished turns          waking      a thread goes on after a decision
    timekeeping deadlines, stalled turns, totals           webhooks    notifications are sent
    threads     deleted threads stay deleted               duties      one server at a time
    cancelling  an owner's cancel withdraws

What servers need of us
    checkpointer  durable checkpoints for development      aegra       the other server
"""
