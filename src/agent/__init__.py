"""The sample agent: operations staff of a small bank ask, and what matters is held until the right people cleared it.

It uses the library `clearance` as any builder would; delete it and write another.

app            its `Clearance`: actions, policy, migrations, commands     graph      the graph that the server runs
actions        what has an effect                                         lookups    what is read
analysis       the long job, which streams its progress                   bank/      customers, accounts, a ledger
model          which chat model answers    offline_model  its sentences   prompts    what it is told
settings       what only this agent is told                               commands   `clearance seed`
provider       who pays to other banks, over HTTP
"""
