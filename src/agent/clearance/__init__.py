"""The gate: nothing with an effect runs except through here. Knows nothing of banks, servers or graphs.

gate          every effect passes it: ask, record, carry out; the freeze
intake        what enters the journal: turns, the model's messages, a request for every action
policy        what must be asked, of whom        judging       facts and policy together
approval      how a person is asked              answers       what an answer means
answering     whether that person may decide     transitions   how a request changes state
journal       the tables as values               records       what the graph reads of them
audit         the log that shows tampering       action        what an action is
"""
