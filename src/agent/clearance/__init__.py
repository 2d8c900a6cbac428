"""The gate: nothing with an effect runs except through here. Knows nothing of banks, servers or graphs.

`gate` asks, records and carries out; `policy` says what must be asked; `approval` shows a request, `answers` reads what
comes back, `answering` decides whether it counts; `journal` and `audit` are the truth about what was asked and done.
"""
