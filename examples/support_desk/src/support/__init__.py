"""A support desk: people who answer tickets ask, and leads decide what money goes back and what is written to buyers.

app      its `Clearance`: actions, policy, tables, commands     graph    the graph that the server runs
actions  what has an effect: refunds, closed tickets            lookups  what is read
tables   buyers, orders, tickets, refunds                       migrations  how they come to be
"""
