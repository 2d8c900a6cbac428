"""A small bank: the sample domain. Replace it with yours; `clearance/` knows nothing of it.

money      amounts: dollars as people write them become integer cents, and back
wording    text from the database, made safe to show: it cannot pose as something else
customers  who owns accounts
ledger     accounts and transfers, double entry; `check_ledger` says whether it is whole
actions    what the gate guards: TransferFunds, ReverseTransfer, DeleteUser
analysis   detectors that read transfers one by one and report what is odd
seed       a year of made-up business, the same every time, with oddities planted

The tables, and the invariants they hold, are in `db/bank_tables.py` and migration 0002.
"""
