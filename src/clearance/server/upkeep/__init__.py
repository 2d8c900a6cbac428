"""What goes on by itself.

duties            one server at a time does it, again and again
recovery          lost threads are made again, unfinished turns go on
left_turns        what a thread went on without is withdrawn
waking            a thread goes on after a decision
cancelling        an owner's cancel withdraws
deleted_threads   deleted threads stay deleted
timekeeping       deadlines, stalled turns, totals
outcomes          a thread hears what became of an external action
webhooks          notifications are sent
"""
