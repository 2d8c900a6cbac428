"""Files with customers' data and keys are for whoever runs this alone, whatever the umask says."""

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from agent.bank import MIGRATIONS
from clearance.db.engine import Database
from clearance.db.files import close_folder, make_folder
from clearance.db.migrate import migrate
from clearance.db.opening import open_database
from clearance.db.tables import audit_head
from clearance.errors import DatabaseUnavailable
from clearance.key_files import audit_keys, auth_secret
from clearance.server import checkpointer
from clearance.settings import Settings
from tests.support.command import run


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=["umask 000", "umask 022", "umask 077"])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes(folder: Path) -> dict[str, str]:
    """Give the mode of a folder and of everything in it."""
    return {one.name: f"{stat.S_IMODE(one.stat().st_mode):o}" for one in (folder, *sorted(folder.iterdir()))}


def touched(database: Database) -> None:
    """Write something, so that there is a log beside the database."""
    database.write_now(lambda c: c.execute(audit_head.update().values(seq=audit_head.c.seq)))


def test_the_folder_that_holds_all_where_nobody_says_otherwise_is_not_committed(tmp_path: Path) -> None:
    """A project of one's own has not heard of it: its first commit had the keys in it."""
    others, kept = tmp_path / "kept", tmp_path / "there" / ".clearance"
    kept.mkdir(parents=True)
    for folder in (others, kept, tmp_path / ".clearance"):
        make_folder(folder)

    assert (tmp_path / ".clearance" / ".gitignore").read_text() == "*\n"
    assert [list(one.iterdir()) for one in (others, kept)] == [[], []]


def test_a_database_its_log_and_its_keys_are_made_private(umask: int, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    given: Any = {"database_url": f"sqlite:///{folder / 'clearance.db'}"}
    settings = Settings(_env_file=None, **given)  # type: ignore[call-arg]  # no .env of whoever runs it

    database = open_database(settings)
    migrate(database, MIGRATIONS)
    audit_keys(settings)
    auth_secret(settings)
    touched(database)
    found = modes(folder)
    database.close()

    assert found.pop("kept") == "700"
    assert {"clearance.db", "clearance.db-wal", "clearance.db-shm"} <= found.keys()
    assert any("audit-key" in name for name in found)
    assert any("auth-secret" in name for name in found)
    assert set(found.values()) == {"600"}, found


def test_a_folder_that_the_platform_made_is_closed_and_one_that_is_not_there_is_not_made(
    umask: int, tmp_path: Path
) -> None:
    """What went wrong: `langgraph dev` keeps threads with all their words in files of 0644, in a folder of 0755."""
    made, missing = tmp_path / "made", tmp_path / "missing"
    made.mkdir()
    (made / "threads.pckl").write_bytes(b"words")

    close_folder(made)
    close_folder(missing)

    assert modes(made)["made"] == "700"
    assert not missing.exists()


def test_a_database_of_before_is_tightened_and_that_is_told(
    umask: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "clearance.db"
    settings = Settings(_env_file=None, database_url=f"sqlite:///{file}")  # type: ignore[call-arg]  # no .env here
    made = open_database(settings)
    migrate(made, MIGRATIONS)
    audit_keys(settings)
    touched(made)
    for one in tmp_path.iterdir():
        one.chmod(0o644)
    before = set(modes(tmp_path).values())

    database = open_database(settings)
    migrate(database, MIGRATIONS)
    audit_keys(settings)
    found = modes(tmp_path)
    database.close()
    made.close()

    assert "644" in before
    assert {mode for name, mode in found.items() if name != tmp_path.name} == {"600"}, found
    assert "clearance.db could be read by others (mode 644)" in caplog.text


async def test_checkpoints_are_made_private(umask: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: Any = {"checkpoint_file": tmp_path / "kept" / "checkpoints.db"}
    settings = Settings(_env_file=None, **given)  # type: ignore[call-arg]  # no .env of whoever runs it
    monkeypatch.setattr(checkpointer, "settings", lambda: settings)

    async with checkpointer.create() as saver:
        await saver.setup()
        found = modes(tmp_path / "kept")

    assert found.pop("kept") == "700"
    assert set(found.values()) == {"600"}, found


def test_an_exported_log_is_private(umask: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'clearance.db'}")
    database = Database(f"sqlite:///{tmp_path / 'clearance.db'}")
    migrate(database, MIGRATIONS)
    database.close()
    file = tmp_path / "log.jsonl"

    assert run("audit", "export", str(file)).code == 0

    assert f"{stat.S_IMODE(file.stat().st_mode):o}" == "600"


def test_a_folder_that_was_there_stays_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    database = Database(f"sqlite:///{tmp_path / 'clearance.db'}")

    migrate(database, MIGRATIONS)
    database.close()

    assert modes(tmp_path)[tmp_path.name] == "755"


@pytest.fixture
def read_only(sqlite_template: Path) -> Iterator[Path]:
    """Give a database that whoever runs this may only read, in a folder that they may only read."""
    with TemporaryDirectory() as made:
        folder = Path(made) / "copy"
        folder.mkdir()
        file = folder / "clearance.db"
        shutil.copy(sqlite_template, file)
        is_root = os.geteuid() == 0  # to whom permissions say nothing
        for one, mode in ((file, 0o444), (folder, 0o555), (Path(made), 0o755)):
            if is_root:
                os.chown(one, _NOBODY, _NOBODY)
            one.chmod(mode)
        if is_root:
            os.seteuid(_NOBODY)
        yield file
        if is_root:
            os.seteuid(0)
        folder.chmod(0o700)


_NOBODY = 65534


@pytest.mark.parametrize("way", ["read", "write"])
def test_of_a_database_that_nobody_may_write_to_it_is_said_what_is_needed(read_only: Path, way: str) -> None:
    """SQLite reads one in WAL mode only where it may make files beside it: an auditor's copy told nothing of that."""
    database = Database(f"sqlite:///{read_only}")

    run_it = database.read_now if way == "read" else database.write_now
    with pytest.raises(DatabaseUnavailable) as refused:
        run_it(lambda connection: connection.execute(audit_head.select()).all())
    database.close()

    assert f"This user needs write permission for {read_only} and for its folder" in str(refused.value)
    assert stat.S_IMODE(read_only.stat().st_mode) == 0o400, "others' access is taken away, and none is given"
