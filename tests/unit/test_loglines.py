"""What stands in a line of the server's log: nothing from outside breaks it, or makes up another."""

import io
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from clearance import loglines
from clearance.loglines import guard_handlers, logger_of

HOSTILE = "x\n2026-11-25 approved by tess\r\x1b]0;pwned\x07\u2028\u202e"
SHOWN = "x‹U+000A›2026-11-25 approved by tess‹U+000D›‹U+001B›]0;pwned‹U+0007›‹U+2028›‹U+202E›"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Give what a handler of the root logger writes."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logging.root.addHandler(handler)
    yield written
    logging.root.removeHandler(handler)


@pytest.fixture
def ours() -> logging.Logger:
    return logger_of("agent.test_loglines")


@pytest.mark.parametrize(
    ("message", "arguments", "line"),
    [
        pytest.param("not signed in: %s", (HOSTILE,), f"not signed in: {SHOWN}", id="a text"),
        pytest.param("not signed in: %s", (ValueError(HOSTILE),), f"not signed in: {SHOWN}", id="an error"),
        pytest.param("%(who)s asked", ({"who": HOSTILE},), f"{SHOWN} asked", id="by name"),
        pytest.param("not signed in: " + HOSTILE, (), f"not signed in: {SHOWN}", id="put together by a caller"),
        pytest.param("%d rows in %.1f s", (3, 0.5), "3 rows in 0.5 s", id="numbers"),
        pytest.param("%s", ([HOSTILE],), f"['{SHOWN}']", id="a list"),
        pytest.param("100%", (), "100%", id="a sign without arguments"),
        pytest.param("of %s", (None,), "of None", id="nothing"),
        pytest.param("%s", ("René Müller, Łódź, 王",), "René Müller, Łódź, 王", id="letters of people"),
    ],
)
def test_a_line_of_ours_is_one_line(
    log: io.StringIO, ours: logging.Logger, message: str, arguments: tuple[Any, ...], line: str
) -> None:
    ours.warning(message, *arguments)

    assert log.getvalue() == f"WARNING {line}\n"


@pytest.mark.parametrize("arguments", [(), ("100%",)])
def test_the_text_of_an_error_stands_behind_a_bar(
    log: io.StringIO, ours: logging.Logger, arguments: tuple[str, ...]
) -> None:
    try:
        raise ValueError(HOSTILE + " 5%s")
    except ValueError:
        ours.exception("failed %s" if arguments else "failed", *arguments)

    first, *rest = log.getvalue().splitlines()
    assert first == f"ERROR failed {arguments[0]}" if arguments else "ERROR failed"
    assert len(rest) > 2
    assert all(line.startswith("  | ") for line in rest)
    assert "\x1b" not in log.getvalue()
    assert "5%s" in rest[-1]


def test_what_others_log_is_made_visible_too(log: io.StringIO) -> None:
    guard_handlers()

    logging.getLogger("uvicorn.error").warning("GET %s", HOSTILE)
    logging.getLogger("uvicorn.error").warning("GET", extra={"path": HOSTILE})

    assert log.getvalue().splitlines() == [f"WARNING GET {SHOWN}", "WARNING GET"]


def test_events_of_the_platforms_logger_are_made_visible(log: io.StringIO) -> None:
    """As langgraph_api and aegra_api set it up: a dictionary until the handler writes it."""
    guard_handlers()
    (handler,) = [one for one in logging.root.handlers if getattr(one, "stream", None) is log]
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
            ]
        )
    )
    platform = structlog.wrap_logger(
        logging.getLogger("langgraph_api.test"),
        processors=[structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
    )

    platform.warning(f"GET {HOSTILE} 404", path=HOSTILE, headers={"a": [HOSTILE]}, status=404)
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        platform.error("failed", exc_info=True)
        platform.error("failed", exc_info=sys.exc_info())

    lines = log.getvalue().splitlines()
    assert lines[0].startswith(f"GET {SHOWN} 404")
    assert "status=404" in lines[0]
    assert not any(line.startswith("2026") for line in lines)
    assert "\x1b" not in log.getvalue()
    assert sum("ValueError: x‹U+000A›" in line or "ValueError: x" in line for line in lines) == 2


def test_what_a_formatter_adds_is_made_visible_too(log: io.StringIO, ours: logging.Logger) -> None:
    """What went wrong: langgraph_api's formatter puts a client's `x-request-id` in after the filters, as it came."""
    (handler,) = [one for one in logging.root.handlers if getattr(one, "stream", None) is log]
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                lambda _logger, _method, event: {**event, "request_id": HOSTILE},
                structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
            ]
        )
    )
    guard_handlers()
    guard_handlers()

    try:
        raise ValueError(HOSTILE)
    except ValueError:
        ours.exception("failed")

    first, *rest = log.getvalue().splitlines()
    assert first == "failed"
    assert len(rest) > 2
    assert all(line.startswith("  | ") for line in rest)
    assert f"request_id='{SHOWN}'" in rest[-1]


def test_a_record_that_two_handlers_write_is_made_visible_once(log: io.StringIO, ours: logging.Logger) -> None:
    guard_handlers()
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        ours.exception("failed")

    assert "|   |" not in log.getvalue()


#: As uvicorn logs it when a lifespan raises: a text, and no exception with it.
TRACEBACK = (
    'Traceback (most recent call last):\n  File "app.py", line 1, in lifespan\nValueError: no\n2026-11-25 a line\n'
)


def test_why_a_server_does_not_start_is_told_in_place_of_the_traceback(
    log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loglines, "_no_start", [])
    guard_handlers()

    logging.getLogger("uvicorn.error").error(TRACEBACK)
    loglines.tell_no_start(ValueError(f"POLICY_FILE: no 100%d\n\t{HOSTILE}"))
    logging.getLogger("uvicorn.error").error(TRACEBACK)
    logging.getLogger("other").error(TRACEBACK)

    *lines, of_ours, of_another = log.getvalue().splitlines()
    assert lines[0] == "ERROR The server does not start:"
    assert lines[1:] == [f"  | {line}" for line in TRACEBACK.splitlines()]
    assert of_ours.startswith("ERROR The server does not start: POLICY_FILE: no 100%d x 2026-11-25 approved by tess")
    assert "‹U+001B›" in of_ours
    assert of_another.startswith("ERROR Traceback (most recent call last):‹U+000A›")
