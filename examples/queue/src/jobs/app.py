"""A queue that takes a job once under its key: what is unknown is sent again under the same one."""

import os
import sqlite3
from contextlib import closing
from typing import ClassVar, Literal

from clearance import Clearance, ExternalAction, Facts
from clearance.actions import Call, Done

QUEUE = os.environ.get("QUEUE_FILE", "queue.db")
_TABLE = "CREATE TABLE IF NOT EXISTS jobs (key TEXT PRIMARY KEY, job TEXT NOT NULL, size TEXT NOT NULL)"


class PutJob(ExternalAction[Facts]):
    """Put a job into the workers' queue, for example job "reindex", size "small"."""

    job: str
    size: Literal["small", "large"] = "small"

    timeout_s: ClassVar[float] = 10
    #: A day: for so long the queue knows a key, and does it once.
    key_lasts_s: ClassVar[float] = 86_400

    def business_key(self) -> str:
        return f"job:{self.job}"

    def perform(self, call: Call) -> Done:
        with closing(sqlite3.connect(QUEUE, timeout=0.5)) as queue:
            queue.execute(_TABLE)
            put = "INSERT INTO jobs VALUES (?, ?, ?) ON CONFLICT (key) DO NOTHING"
            queue.execute(put, (call.idempotency_key, self.job, self.size))
            queue.commit()
        return Done(f"{self.job} is in the queue.")


clearance = Clearance(actions=[PutJob])
