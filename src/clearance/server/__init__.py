"""What runs beside the graphs on the server.

auth           a handler for each resource and action of the server
graphs         which graphs are here, and which are gated
app            the HTTP app, as the server's configuration names it
start          what starts with it
middleware     what stands around all routes
late           what is loaded when somebody comes
reviewers      the approvals API and the inbox, as one app
entry/         who gets in, with what, and how much of it
api/           the approvals API
inbox/         the pages on which people decide
upkeep/        what goes on by itself

interrupts     what a thread waits with: our questions, and those of the graph itself
failures       what callers are told when something fails
checkpointer   durable checkpoints for development
decoded        what stored parts of checkpoints mean, worked out once for those that are read often
aegra          what the other server needs
collecting     no garbage collection while the server starts
"""
