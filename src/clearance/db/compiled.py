"""Statements compiled once for each database, and run by its driver: between a statement and its rows nothing is built.

SQLAlchemy takes ten times as long for a row as SQLite does, and the gate asks for some in every step. Values are
written and read by SQLAlchemy's types, and what fails is told as by it, so that a lost connection is known as one.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn, TypeAlias, cast

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Dialect

#: Statements that stand in a module. Those that are made for one call would be compiled for each.
Statement: TypeAlias = "sa.Select[Any] | sa.Insert | sa.Update | sa.Delete"
Row: TypeAlias = "Sequence[Any]"

#: More than there are in modules: these were made for calls, and go.
_MOST = 1000
#: Rows that one statement inserts.
_ROWS_AT_ONCE = 16
#: Lists of values longer than this are left to SQLAlchemy, which writes them out each time.
_LONGEST = 1024


class _Place(NamedTuple):
    """Where a value of a statement comes from."""

    #: For a driver that takes values by name.
    name: str
    #: The name under which it is given; None for the statement's own.
    given: str | None
    #: Which one of a list; None where it is no list.
    at: int | None
    own: Any
    #: Writes it as the driver takes it; None where that is as it is.
    write: Any


class _Form:
    """A statement as a driver takes it, for lists of certain lengths."""

    def __init__(self, sql: str, places: Sequence[_Place], *, is_named: bool) -> None:
        self.sql = sql
        self._places = places
        self._names = [place.name for place in places] if is_named else None
        #: What is given for each place, where nothing else is to be put there.
        self._given = [place.given for place in places if place.given is not None and place.at is None]
        self._is_plain = len(self._given) == len(places)
        self._writers = [(at, place.write) for at, place in enumerate(places) if place.write is not None]

    def values(self, given: Mapping[str, Any]) -> Any:
        """Give the values as the driver takes them."""
        values: list[Any] = (
            [given[name] for name in self._given]
            if self._is_plain
            else [
                place.own if place.given is None else given[place.given] if place.at is None
                else given[place.given][place.at]
                for place in self._places
            ]
        )  # fmt: skip
        for at, write in self._writers:
            values[at] = write(values[at])
        return values if self._names is None else dict(zip(self._names, values, strict=True))


class _Compiled:
    """A statement compiled for one database, with what reads its rows."""

    def __init__(self, statement: Statement, dialect: Dialect, names: tuple[str, ...]) -> None:
        keys = list(names) if isinstance(statement, sa.Insert) and set(names) <= set(statement.table.c.keys()) else None
        self._compiled: Any = statement.compile(dialect=dialect, column_keys=keys)
        self._dialect = dialect
        binds: Mapping[str, sa.BindParameter[Any]] = self._compiled.binds
        #: Names of the values of which there may be several.
        self.lists = tuple(name for name in names if name in binds and binds[name].expanding)
        self._forms: dict[tuple[int, ...], _Form] = {}
        #: Whether it changes nothing, and waits for nobody.
        self.only_reads = isinstance(statement, sa.GenerativeSelect) and statement._for_update_arg is None
        shown = statement.selected_columns if isinstance(statement, sa.Select) else statement.exported_columns
        self._types = [column.type for column in shown]
        self._readers: list[tuple[int, Any]] | None = None

    def form(self, given: Mapping[str, Any]) -> _Form:
        """Give the statement for lists as long as these."""
        lengths = tuple([len(given[name]) for name in self.lists]) if self.lists else ()
        form = self._forms.get(lengths)
        if form is None:
            form = self._forms[lengths] = self._formed(given)
        return form

    def _formed(self, given: Mapping[str, Any]) -> _Form:
        state = self._compiled.construct_expanded_state(given)
        of_lists = {one: (name, at) for name, ones in state.parameter_expansion.items() for at, one in enumerate(ones)}
        places = []
        for name in state.positiontup or state.parameters:
            source, at = of_lists.get(name, (name, None))
            bind = self._compiled.binds[source]
            write = bind.type.dialect_impl(self._dialect).bind_processor(self._dialect)
            is_own = source not in given
            own = state.parameters[name] if is_own else None
            places.append(_Place(name, None if is_own else source, at, own, write))
        return _Form(state.statement, places, is_named=not self._compiled.positional)

    def read(self, rows: list[Row], cursor: Any) -> Sequence[Row]:
        """Give rows, which `cursor` gave, as they are wanted."""
        readers = self._readers
        if readers is None:
            readers = self._readers = self._readers_for(cursor.description)
        if not readers:
            return rows
        wanted = []
        for row in rows:
            values = list(row)
            for at, reader in readers:
                values[at] = reader(values[at])
            wanted.append(values)
        return wanted

    def _readers_for(self, description: Sequence[Any]) -> list[tuple[int, Any]]:
        readers = []
        for at, (type_, told) in enumerate(zip(self._types, description, strict=True)):
            reader = type_.dialect_impl(self._dialect).result_processor(self._dialect, told[1])
            if reader is not None:
                readers.append((at, _json_by(reader) if isinstance(type_, sa.JSON) else reader))
        return readers


def _json_by(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Read JSON as `read` does, past the five functions that it calls for it."""

    def read_json(value: Any) -> Any:
        if value is None:
            return None
        if type(value) is str:
            try:
                found, end = _scan(value, 0)
            except (StopIteration, ValueError):  # `read` says of what is none what is wrong with it
                return read(value)
            if end == len(value):
                return found
        return read(value)

    return read_json


_scan: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]  # in no stub


_compiled: dict[tuple[Statement, str, tuple[str, ...]], _Compiled] = {}


class Answer:
    """The rows of a statement that was given to the database, which may be on its way until they are asked for."""

    def __init__(self, rows: Sequence[Row] | None, fetch: Callable[[], Sequence[Row]] = tuple) -> None:
        self._rows = rows
        self._fetch = fetch

    def rows(self) -> Sequence[Row]:
        """Give the rows; none where it gives none.

        Raises:
            DBAPIError: as SQLAlchemy raises it; of the first of all statements on their way that failed.
        """
        if self._rows is None:
            self._rows = self._fetch()
        return self._rows


def shares_trips(driver: Any) -> bool:
    """Tell whether a connection is one of `postgres`; without its driver, which SQLite does without."""
    return getattr(driver, "shares_trips", False)


def ask(connection: Connection, statement: Statement, given: Mapping[str, Any]) -> Answer:
    """Give a statement to the open transaction. On PostgreSQL it goes with the next whose rows are asked for, or with
    COMMIT: in the order in which they were given, in one round trip. SQLite does it at once.

    Raises:
        DBAPIError: as SQLAlchemy raises it, here or with the rows.
    """  # fmt: skip
    driver: Any = connection.connection.dbapi_connection
    if not shares_trips(driver):
        return Answer(_rows_at_once(connection, driver, statement, given))
    return _ask(connection, driver, statement, given)


def _rows_at_once(connection: Connection, driver: Any, statement: Statement, given: Mapping[str, Any]) -> Sequence[Row]:
    """Run a statement in SQLite, which answers at once."""
    found = _found(connection, statement, given)
    if found is None:
        return _by_sqlalchemy(connection, statement, given)
    compiled, form, values = found
    cursor = None
    try:
        cursor = driver.execute(form.sql, values)
        rows: list[Row] = cursor.fetchall()
    except BaseException as exc:  # noqa: BLE001  raised by the next line
        _raise(connection, exc, form.sql, values, cursor)
    return compiled.read(rows, cursor) if rows else rows


def _ask(connection: Connection, driver: Any, statement: Statement, given: Mapping[str, Any]) -> Answer:
    """Give a statement to PostgreSQL."""
    found = _found(connection, statement, given)
    if found is None:
        return Answer(_by_sqlalchemy(connection, statement, given))
    compiled, form, values = found
    held = driver.hold(form.sql, values, only_reads=compiled.only_reads)

    def fetch() -> Sequence[Row]:
        cursor = None
        try:
            cursor = held.answer()
            rows = cursor.fetchall() if cursor.description else []
            read = compiled.read(rows, cursor) if rows else rows
            cursor.close()
        except BaseException as exc:  # noqa: BLE001  raised by the next line
            _raise(connection, exc, form.sql, values, cursor)
        return read

    return Answer(None, fetch)


def _found(
    connection: Connection, statement: Statement, given: Mapping[str, Any]
) -> tuple[_Compiled, _Form, Any] | None:
    """Give a statement and its values as its driver takes them; None where SQLAlchemy is to send it."""
    if _is_heard(connection):
        return None
    compiled = _compiled_for(connection.dialect, statement, tuple(given))
    if compiled.lists:
        given = {**given, **{name: _padded(given[name]) for name in compiled.lists}}
        if any(len(given[name]) > _LONGEST for name in compiled.lists):
            return None
    form = compiled.form(given)
    return compiled, form, form.values(given)


def _is_heard(connection: Connection) -> bool:
    """Tell whether somebody listens to the statements of a connection, and is to hear these as well."""
    # The one of both together is asked only where it may be so: it takes longer than to find a statement's form.
    is_any = connection._has_events or connection.engine.dispatch.before_cursor_execute
    return bool(is_any) and bool(connection.dispatch.before_cursor_execute)


def rows_of(connection: Connection, statement: Statement, given: Mapping[str, Any]) -> Sequence[Row]:
    """Run a statement in the open transaction, and give its rows; none where it gives none.

    Raises:
        DBAPIError: as SQLAlchemy raises it.
    """
    driver: Any = connection.connection.dbapi_connection
    if not shares_trips(driver):
        return _rows_at_once(connection, driver, statement, given)
    if driver.prefetched:
        prefetched: Answer | None = driver.prefetched.pop(_key(statement, given), None)
        if prefetched is not None:
            return prefetched.rows()
    return _ask(connection, driver, statement, given).rows()


def prefetch(connection: Connection, query: sa.Select[Any], given: Mapping[str, Any]) -> None:
    """Ask for rows that `rows_of` is asked for presently, to come with what it is asked for first.

    They are as they are now: what this transaction writes before they are read makes it ask anew. SQLite is asked then.
    """
    driver: Any = connection.connection.dbapi_connection
    if shares_trips(driver) and not _is_heard(connection):
        driver.prefetched[_key(query, given)] = _ask(connection, driver, query, given)


def _key(statement: Statement, given: Mapping[str, Any]) -> Any:
    return statement, tuple((name, tuple(one) if isinstance(one, list) else one) for name, one in given.items())


def wait_for_all(connection: Connection) -> None:
    """Wait for every statement that was given to the open transaction and may fail: it fails here at the latest.

    Raises:
        DBAPIError: as SQLAlchemy raises it; also where one failed before, and whoever ran it hid that.
    """
    driver: Any = connection.connection.dbapi_connection
    if shares_trips(driver):
        try:
            if not driver.is_sound:
                driver.send_held()
            if driver.has_failed:
                import psycopg

                raise psycopg.errors.InFailedSqlTransaction("a statement failed before, and that was hidden")
        except BaseException as exc:  # noqa: BLE001  raised by the next line
            _raise(connection, exc, "", None, None)


def driver_form(connection: Connection, statement: Statement, given: Mapping[str, Any]) -> tuple[str, Any]:
    """Give a statement and its values as the driver takes them, lists of values at most `_LONGEST` long."""
    compiled = _compiled_for(connection.dialect, statement, tuple(given))
    if compiled.lists:
        given = {**given, **{name: _padded(given[name]) for name in compiled.lists}}
    form = compiled.form(given)
    return form.sql, form.values(given)


def run_text(connection: Connection, sql: str) -> None:
    """Run a statement that has neither values nor rows in the open transaction.

    Raises:
        DBAPIError: as SQLAlchemy raises it.
    """
    driver: Any = connection.connection.dbapi_connection
    cursor = None
    try:
        cursor = driver.cursor()
        cursor.execute(sql, ())
        cursor.close()
    except BaseException as exc:  # noqa: BLE001  raised by the next line
        _raise(connection, exc, sql, (), cursor)


def insert_all(connection: Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, each with the same columns, by one statement; many by a few. See `ask` for when they are sent.

    Raises:
        DBAPIError: as SQLAlchemy raises it.
    """
    for first in range(0, len(rows), _ROWS_AT_ONCE):
        some = rows[first : first + _ROWS_AT_ONCE]
        given = {f"{name}_{at}": value for at, row in enumerate(some) for name, value in row.items()}
        ask(connection, _inserting(table, tuple(some[0]), len(some)), given)


@lru_cache(maxsize=200)
def _inserting(table: sa.Table, names: tuple[str, ...], count: int) -> sa.Insert:
    return sa.insert(table).values(
        [{name: sa.bindparam(f"{name}_{at}", type_=table.c[name].type) for name in names} for at in range(count)]
    )


def _raise(connection: Connection, exc: BaseException, sql: str, values: Any, cursor: Any) -> NoReturn:
    # As SQLAlchemy does for its own: the connection that this may have cost is dropped from the pool, with those of the
    # same age. There is no public way to say so.
    connection._handle_dbapi_exception(exc, sql, values, cursor, None)


def _compiled_for(dialect: Dialect, statement: Statement, names: tuple[str, ...]) -> _Compiled:
    key = (statement, dialect.name, names)
    found = _compiled.get(key)
    if found is None:
        if len(_compiled) > _MOST:
            _compiled.clear()
        found = _compiled[key] = _Compiled(statement, dialect, names)
    return found


def _padded(given: Iterable[Any]) -> Sequence[Any]:
    """Repeat the last of some values to a length that is a power of two: a few forms are enough for all lengths."""
    values = list(given)
    length = len(values)
    wanted = 1 << (length - 1).bit_length() if length else 0
    return [*values, *values[-1:] * (wanted - length)]


def _by_sqlalchemy(connection: Connection, statement: Statement, given: Mapping[str, Any]) -> Sequence[Row]:
    result = connection.execute(statement, given)
    return cast("Sequence[Row]", result.all()) if result.returns_rows else []
