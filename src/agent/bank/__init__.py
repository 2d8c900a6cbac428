"""A small bank: the sample domain. The library knows nothing of it.

money      amounts: dollars as people write them become integer cents, and back
wording    text from the database, made safe to show: it cannot pose as something else
customers  who owns accounts
ledger     accounts and transfers, double entry; `check_ledger` says whether it is whole
detectors  what is odd about transfers, read one by one
seed       a year of made-up business, the same every time, with oddities planted

tables     its tables; the invariants they hold are in `migrations`
"""

from pathlib import Path

from clearance import Migrations

MIGRATIONS = [Migrations(Path(__file__).parent / "migrations", version_table="bank_schema_version")]
