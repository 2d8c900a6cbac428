"""Databases for the tests: both dialects, migrated, empty; a PostgreSQL server of our own for the session."""

import functools
import gc
import os
import shutil
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import hypothesis
import pytest
import sqlalchemy as sa
from httpx._config import DEFAULT_LIMITS
from httpx._transports import default as transports
from httpx2._transports import default as transports_of_openai

from agent.bank import MIGRATIONS
from agent.bank.seed import seed
from clearance.db import engine as engines
from clearance.db.engine import Database, normalise_url
from clearance.db.migrate import migrate
from clearance.settings import settings
from tests.support import nursery, workers
from tests.support.outside import URL
from tests.support.payments import Provider
from tests.support.postgres import postgres
from tests.support.scheduling import ByServer, order, scope
from tests.support.server import Server
from tests.support.statements import with_statements_kept
from tests.support.world import World

DIALECTS = ("sqlite", "postgres")

# Servers close a connection that was silent for 5 s, as httpx does: who asks at that moment gets no answer. A busy one
# closes it before it reads what came some seconds earlier. For every client of the tests, the SDK's, too, which cannot
# be told.
DEFAULT_LIMITS.keepalive_expiry = 1
# Each client reads all certificates of the system, 25 ms of processor time, though here no connection is encrypted.
for module in (transports, transports_of_openai):
    module.create_ssl_context = functools.cache(module.create_ssl_context)  # type: ignore[attr-defined]  # not public
# What the tests start loads this first. Not the tests themselves: what they leave open is found as soon as ever.
_QUICK = str(Path(__file__).parent / "support" / "quick")
if _QUICK not in os.environ.get("PYTHONPATH", "").split(os.pathsep):
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), _QUICK]))
Server.is_forked = True
nursery.share()
# A terminal that is drawn ten times a second, and moves at once, shows the same for half the work.
os.environ.setdefault("TEXTUAL_FPS", "10")
os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
gc.set_threshold(5_000, 10, 10)
# Each test has engines of its own, and each engine would compile all statements anew.
engines._engine = with_statements_kept(engines._engine)
# How long an example takes says how busy the machine is.
_IN_ANY_TIME = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("in any time", _IN_ANY_TIME)
hypothesis.settings.load_profile("in any time")
# Until all tests are collected: what is imported for them stays to the end.
gc.disable()


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    """A payment provider of its own, over HTTP, which the actions of `tests.support.outside` pay by."""
    with Provider() as made:
        monkeypatch.setenv(URL, made.url)
        yield made


@pytest.fixture(autouse=True)
def settings_of_its_own() -> Iterator[None]:
    """Let no test meet what another read from an environment of its own; a process reads its settings once."""
    yield
    settings.cache_clear()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Give the URL of a PostgreSQL server of this session's own. Nothing in it outlives the session."""
    with postgres() as url:
        yield url
        _administrator(url).dispose()


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str) -> str:
    """Migrate one database; each test gets a copy of it."""
    _administer(postgres_server, "CREATE DATABASE migrated")
    database = Database(_named(postgres_server, "migrated"))
    migrate(database, MIGRATIONS)
    database.close()
    return postgres_server


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Migrate one SQLite file; each test gets a copy of it."""
    path = tmp_path_factory.mktemp("sqlite") / "migrated.db"
    database = Database(f"sqlite:///{path}")
    migrate(database, MIGRATIONS)
    database.write_now(lambda connection: None)
    database.close()
    return path


@pytest.fixture(params=DIALECTS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Give the URL of a migrated, empty database; the test runs once for each dialect."""
    if request.param == "sqlite":
        path = tmp_path / "clearance.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    with copied(request.getfixturevalue("postgres_template"), "migrated") as url:
        yield url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Open the database of `database_url`."""
    opened = Database(database_url)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def seeded_postgres(postgres_template: str) -> str:
    """Seed a copy of the migrated database; each world gets a copy of that."""
    _administer(postgres_template, "CREATE DATABASE seeded TEMPLATE migrated")
    _seed(_named(postgres_template, "seeded"))
    return postgres_template


@pytest.fixture(scope="session")
def seeded_sqlite(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seed one small bank; worlds and servers get copies of it."""
    path = tmp_path_factory.mktemp("seeded") / "seeded.db"
    shutil.copy(sqlite_template, path)
    _seed(f"sqlite:///{path}")
    return path


@pytest.fixture
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Give the whole agent in this process over a small seeded bank.

    The test runs once for each dialect, in a graph of our own; and once in an agent of `create_agent`, unless it says
    by the mark `own_graph` why what it is about is the same there.
    """
    with ExitStack() as stack:
        if request.param != "postgres":
            path = tmp_path / "world.db"
            shutil.copy(request.getfixturevalue("seeded_sqlite"), path)
            opened = Database(f"sqlite:///{path}")
        else:
            url = stack.enter_context(copied(request.getfixturevalue("seeded_postgres"), "seeded"))
            opened = Database(url)
        stack.callback(opened.close)
        yield World(opened, way="middleware" if request.param == "middleware" else "own")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test of a `world` its worlds, where it does not choose them itself."""
    chosen = [mark for mark in metafunc.definition.iter_markers("parametrize") if mark.args[0] == "world"]
    if "world" in metafunc.fixturenames and not chosen:
        both = metafunc.definition.get_closest_marker("own_graph") is None
        metafunc.parametrize("world", [*DIALECTS, *(["middleware"] if both else [])], indirect=True)


@contextmanager
def copied(url: str, template: str) -> Iterator[str]:
    """Give the URL of a copy of a database for as long as the block runs."""
    name = f"test_{uuid4().hex}"
    _administer(url, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    yield _named(url, name)
    _administer(url, f"DROP DATABASE {name} WITH (FORCE)")


def _seed(url: str) -> None:
    database = Database(url)
    database.write_now(lambda connection: seed(connection, size="small"), is_long=True)
    database.close()


def _named(url: str, database: str) -> str:
    return sa.make_url(url).set(database=database).render_as_string(hide_password=False)


@functools.cache
def _administrator(url: str) -> sa.Engine:
    return sa.create_engine(normalise_url(url), isolation_level="AUTOCOMMIT", pool_size=1)


def _administer(url: str, statement: str) -> None:
    with _administrator(url).connect() as connection:
        connection.exec_driver_sql(statement)


def pytest_xdist_setupnodes(config: pytest.Config, specs: list[Any]) -> None:
    """Let the processes of `-n` be forked."""
    workers.prepare(config.invocation_params.args, nursery.share(), specs)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByServer:
    """Divide the tests among the processes of `-n`."""
    return ByServer(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let those of one scope come together, and the scopes in the order in which they are to begin."""
    places = order(item.nodeid for item in items)
    items.sort(key=lambda item: places[scope(item.nodeid)])


def pytest_collection_finish() -> None:
    """Look for garbage from here on, and never again among what was collected."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail what is skipped where `CI=true`: there everything is tried, or somebody has to know."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI") == "true":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{reason} (with CI=true a skip is a failure)"
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what tests measured (`record_property("measured", …)`), also when they ran in other processes."""
    for report in terminalreporter.stats.get("passed", []):
        for name, text in report.user_properties:
            if name == "measured":
                terminalreporter.write_line(f"measured: {text}")
