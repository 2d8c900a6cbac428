"""A command as an action: what it left behind tells whether it happened."""

import os
import subprocess
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from clearance import ActionError, Clearance, ExternalAction, Facts, Material
from clearance.actions import Absent, Call, Done, Looking, NotDone

FOLDERS = Path(os.environ.get("ARCHIVE_OF", "folders"))
ARCHIVES = Path(os.environ.get("ARCHIVE_TO", "archives"))


class FolderFacts(Facts):
    files: Material[int] = Field(title="Files in it")


class ArchiveFolder(ExternalAction[FolderFacts]):
    """Pack a folder into an archive, for example folder "invoices"."""

    folder: str = Field(pattern=r"^[a-z0-9-]{1,40}$", description="for example invoices")

    timeout_s: ClassVar[float] = 60
    #: The command ends before that: after a second more it has left nothing new behind.
    arrives_within_s: ClassVar[float] = 1

    def business_key(self) -> str:
        return f"archive:{self.folder}"

    def facts(self, looking: Looking) -> FolderFacts:
        source = FOLDERS / self.folder
        if not source.is_dir():
            raise ActionError(f"There is no folder {self.folder}.")
        return FolderFacts(files=sum(path.is_file() for path in source.rglob("*")))

    def perform(self, call: Call) -> Done:
        made, part = self._archive(call), self._archive(call).with_suffix(".part")
        # No shell: an argument is an argument, whatever stands in it.
        command = ["tar", "--create", "--gzip", "--file", str(part), "--directory", str(FOLDERS), "--", self.folder]
        # It ends before our own time is over, so that it never goes on behind our back.
        done = subprocess.run(command, capture_output=True, text=True, timeout=self.timeout_s - 5)
        if done.returncode != 0:
            raise NotDone(f"tar refused it: {done.stderr.strip()[:200]}")
        part.rename(made)  # all of it is there, or nothing: what the look-up relies on
        return self._done(call)

    def look_up(self, call: Call) -> Done | Absent:
        return self._done(call) if self._archive(call).exists() else Absent()

    def _archive(self, call: Call) -> Path:
        return ARCHIVES / f"{self.folder}-{call.idempotency_key[:8]}.tar.gz"

    def _done(self, call: Call) -> Done:
        return Done(f"{self.folder} is packed, in {self._archive(call).name}.")


clearance = Clearance(actions=[ArchiveFolder], at_start=lambda: ARCHIVES.mkdir(exist_ok=True))
