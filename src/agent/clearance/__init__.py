"""The gate: nothing with an effect runs except through here. Knows nothing of banks, servers or graphs.

What passes the gate
    gate          every effect passes it: ask, record, carry out; the freeze
    intake        what enters the journal: turns, the model's messages, a request for every action
    policy        what must be asked, of whom        judging       facts and policy together
    approval      how a person is asked              answers       what an answer means
    arrival       an answer before its run           answering     whether that person may decide
    transitions   how a request changes state        deadlines     what time does
    losses        what a part that is lost does to the rest of its plan, and a no to its turn
    action        what an action is                  soundness     what cannot be one
    principal     who acts

What is kept
    journal       the tables as values               records       what the graph reads of them
    audit         the log that shows tampering       counterparts  the tables against the log
    refusals      what was refused before the gate   notifications what is told outside

What people see
    rendering     text from outside, made safe       lookalikes    letters that pose as others
    namesakes     people whose names look alike
    desk          what inbox, API and terminal do    listing       pages of requests
    listed        a request as a line of a list      reviewing     as asked, and as it is now
    review        an action in few words
    statistics    how awake reviewers are            replay        another policy over what was
    panel         what somebody may answer           notices       what the gate tells in a thread
    tries         what never gets anywhere ends
"""
