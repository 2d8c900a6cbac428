"""The server's log: nothing from outside reaches a line of it raw, so that none can be made up.

A name, an id, a path or the text of an error may hold a line break, and what follows it would stand as a line of ours;
or an escape by which a terminal does things. Modules take their logger from `logger_of`, never from `logging`.
"""

import logging
import sys
import traceback
from numbers import Number
from typing import Any

#: Longer texts are cut.
_MOST = 20_000
#: Before each line of a traceback: a text in it that looks like a line of the log does not stand like one.
_BAR = "  | "
#: Fields in which structlog keeps a traceback that it has written already.
_TRACEBACKS = frozenset(["exception", "stack"])
#: What a handler's filter has made visible when its formatter gets it; a traceback behind its bar may stand in it.
_SEEN = _TRACEBACKS | {"event", "exc_info"}
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class _Text(str):
    """A message that was made visible."""


class _Event(dict[str, Any]):
    """An event of structlog's that was made visible."""


class _Visible(logging.Filter):
    """Lets every record pass, with what it says made visible. A record may meet it more than once."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite a record; always true."""
        if isinstance(record.msg, _Text | _Event):
            return True
        if isinstance(record.msg, dict):  # of structlog, before its fields are written
            record.msg = _event(record.msg)
            return True
        for name, value in vars(record).items():
            if name not in _STANDARD and not name.startswith("_"):
                vars(record)[name] = _value(value)
        if (told_instead := _of_start(record)) is not None:
            record.msg, record.args = _Text(told_instead), None
            return True
        record.args = _arguments(record.args)
        told = "".join(f"\n{one}" for one in _tracebacks(record))
        record.msg = _Text(_text(str(record.msg)) + (told.replace("%", "%%") if record.args else told))
        record.exc_info = record.exc_text = record.stack_info = None
        return True


_VISIBLE = _Visible()


def logger_of(name: str) -> logging.Logger:
    """Give a module its logger: what it logs is made visible."""
    logger = logging.getLogger(name)
    logger.addFilter(_VISIBLE)
    return logger


#: Why the server does not start, where that is a sentence of ours.
_no_start: list[str] = []


def tell_no_start(why: Exception) -> None:
    """Note the sentence that stops the start: it is logged in place of the traceback, in which it would be lost."""
    _no_start.append(f"The server does not start: {' '.join(str(why).split())}")


def _of_start(record: logging.LogRecord) -> str | None:
    """Give what is logged in place of the traceback that uvicorn logs as a text when a server does not start."""
    text = str(record.msg)
    if record.name != "uvicorn.error" or not text.startswith("Traceback (most recent call last):\n"):
        return None
    if _no_start:
        return _text(_no_start[-1])
    return f"The server does not start:\n{_barred(text)}"


def guard_handlers() -> None:
    """Make visible what others log in this process: the platform writes paths and errors as they came."""
    others = [one for one in logging.root.manager.loggerDict.values() if isinstance(one, logging.Logger)]
    for logger in (logging.root, *others):
        for handler in logger.handlers:
            handler.addFilter(_VISIBLE)
            _guard_formatter(handler.formatter)


def _guard_formatter(formatter: Any) -> None:
    """Make visible what a formatter of structlog's adds by itself: the id that a client gave its request, for one."""
    processors = tuple(getattr(formatter, "processors", ()))
    if processors and _visible_fields not in processors:
        formatter.processors = (*processors[:-1], _visible_fields, processors[-1])


def _visible_fields(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """Write the fields of an event, right before it becomes a line."""
    return {str(_value(name)): value if name in _SEEN else _value(value) for name, value in event.items()}


def _arguments(arguments: Any) -> Any:
    if isinstance(arguments, dict):
        return {name: _value(value) for name, value in arguments.items()}
    return tuple(_value(one) for one in arguments) if arguments else arguments


def _tracebacks(record: logging.LogRecord) -> list[str]:
    told = []
    if record.exc_info and record.exc_info[0] is not None:
        told.append("".join(traceback.format_exception(*record.exc_info)))
    elif record.exc_text:
        told.append(record.exc_text)
    return [_barred(one) for one in (*told, record.stack_info) if one]


def _event(event: dict[str, Any]) -> _Event:
    shown = _Event()
    for name, value in event.items():
        if name == "exc_info":
            error = sys.exc_info()[1] if value is True else value[1] if isinstance(value, tuple) else value
            if isinstance(error, BaseException):
                shown["exception"] = _barred("".join(traceback.format_exception(error)))
        elif name in _TRACEBACKS and isinstance(value, str):
            shown[name] = _barred(value)
        else:
            shown[name] = _value(value)
    return shown


def _value(value: Any) -> Any:
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, Number):
        return value
    if isinstance(value, dict):
        return {_value(name): _value(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_value(one) for one in value]
    return _text(str(value))


def _barred(text: str) -> str:
    return "\n".join(f"{_BAR}{_text(line)}" for line in text[-_MOST:].strip("\n").split("\n"))


def _text(text: str) -> str:
    text = text[:_MOST]
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else f"‹U+{ord(one):04X}›" for one in text)
