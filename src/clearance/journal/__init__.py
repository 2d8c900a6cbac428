"""What is kept: the truth about what was asked, answered and done. Statements; what they mean stands in `gate`.

turns           what one message of a person set off
plans           the AI messages of a turn, and their calls
requests        the actions of a plan
questions       how and when a request was put in a thread
decisions       what persons decided on it
attempts        each start of an external action, and what became of it
receipts        how it ended
history         all that a thread has behind it, what is over read once
tools           definitions of tools that are not written here, and which of them is called
erasure         what is personal goes, from every row
switch          the switch that stops every effect
leases          one holder at a time
tries           how often the same got nowhere
statements      how all of them are read and written

refusals        what was refused before the gate
notifications   what is to be told outside: the outbox

audit           the log that shows tampering, and the head that locks the gate
signing         how its rows are signed, and under which key
binding         which rows of the tables it binds, and how
bound_rows      those rows compared with it
left_behind     what actions left in tables of their own, compared with it
counterparts    the tables against what the log tells
verification    the log row by row, and the tables beside it, as `clearance audit verify` checks them
witness         the same of one turn, cheaply
exported        an export of the log, checked without a database
"""
