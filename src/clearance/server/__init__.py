"""What runs beside the graphs on the server.

auth           a handler for each resource and action of the server
graphs         which graphs are here, and which are gated
app            the HTTP app, and what starts with it
entry/         who gets in, with what, and how much of it
api/           the approvals API
inbox/         the pages on which people decide
upkeep/        what goes on by itself

interrupts     what a thread waits with: our questions, and those of the graph itself
failures       what callers are told when something fails
checkpointer   durable checkpoints for development
aegra          what the other server needs
"""
