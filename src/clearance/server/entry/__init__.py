"""Who gets in, with what, and how much of it.

wall              who may do what, before anything runs
tokens            who somebody is
callers           who calls
asked             who called a route of the platform
dependencies      who calls a route of ours
closed_routes     routes that nobody may reach
run_options       what a run may ask for
later_runs        whether others go on from what a run left
homes             the graph that a thread belongs to

paths             a path as the router reads it
ids               ids in one spelling, and belonging together
received          when a request came
bodies            a body read by a middleware
sizes             how much anybody may send
unfinished_runs   how many runs one person may have
token_lifetimes   a connection ends with its token
refusal_counts    what was refused is counted
stale_answers     what became of a question that is not put any more
"""
