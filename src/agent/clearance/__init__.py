"""The gate: nothing with an effect runs except through here. Knows nothing of banks, servers or graphs.

`gate` asks, records and carries out; `policy` says what must be asked; `approval` shows a request and reads the answer;
`journal` and `audit` are the truth about what was asked, answered and done.
"""
