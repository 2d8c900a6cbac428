"""The conditions of the policy: CEL, compiled and type-checked against each action that a rule is about.

The expression language is https://cel.dev. What it cannot say by itself is added: `has(args.limit)`, whether an
optional value is given; `decimal("2500.00")`, a number as `Decimal` has them; and the project's own functions.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from cel_expr_python import cel

from clearance.actions.action import Action, Facts
from clearance.actions.origin import ToolOrigin
from clearance.gate.testable import UNUSABLE, exact, nested, testable, values, variables, written
from clearance.principal import Principal

#: What a server claims of its tools, in the words of a condition.
CLAIMS = ("read_only", "destructive", "idempotent", "open_world")
_ABOUT_ALL = {
    "requested_by": cel.Type.STRING,
    "roles": cel.Type.List(cel.Type.STRING),
    "tool.name": cel.Type.STRING,
    "tool.server": cel.Type.STRING,
    **{f"tool.{claim}": cel.Type.BOOL for claim in CLAIMS},
}
#: Texts and comments of CEL, which are none of ours; and what asks whether something is given.
_TEXT = r"""[rR]?(?:\"{3}.*?\"{3}|'{3}.*?'{3}|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*')|//[^\n]*"""
_HAS = re.compile(rf"(?s:{_TEXT})|\bhas\s*\(\s*(?P<what>(?:args|facts)(?:\s*\.\s*\w+)+)\s*\)")
_DECIMAL = re.compile(r"\bdecimal\(\s*(?P<quote>['\"])(?P<number>.*?)(?P=quote)\s*\)")
#: A field beside a text that it is compared with, or a list of them.
_FIELD, _ONE = r"(?P<field>(?:args|facts)(?:\.\w+)+)", r"""(?:"[^"\\\n]*"|'[^'\\\n]*')"""
_COMPARED = [
    re.compile(rf"\b{_FIELD}\s*[!=]=\s*(?P<texts>{_ONE})"),
    re.compile(rf"(?P<texts>{_ONE})\s*[!=]=\s*{_FIELD}(?![\w.(])"),
    re.compile(rf"\b{_FIELD}\s+in\s+\[(?P<texts>[^\]]*)\]"),
]
#: How CEL calls what stands for a decimal.
_WORDS = {"google.protobuf.Duration": "decimal", "google.protobuf.Timestamp": "timestamp", "null_type": "null"}


class ConditionError(Exception):
    """A condition cannot be read; the text says why, `line` is the line in it, from 0."""

    def __init__(self, why: str, line: int = 0) -> None:
        super().__init__(why)
        self.line = line


class Failed(str):
    """Why a condition could not be evaluated."""

    __slots__ = ()


@dataclass(frozen=True)
class Condition:
    """A condition that is compiled for one kind of action."""

    _expression: Any

    def holds(self, data: Mapping[str, Any]) -> bool | Failed:
        """Tell whether it holds of what `data_of` gives; `Failed` where that cannot be told."""
        value = self._expression.eval(data=data)
        if value.type() != cel.Type.BOOL:
            return Failed(_failure(str(value.value())))
        return bool(value.value())


class Conditions:
    """Compiles conditions. `functions` are the project's integer functions, by name."""

    def __init__(self, functions: Mapping[str, Callable[[int], int]]) -> None:
        declared = [_function(name, impl) for name, impl in functions.items()]
        self._extension = cel.CelExtension("clearance", [_decimals(), *declared])
        self._environments: dict[type[Action[Any]], Any] = {}

    def compile(self, when: str, cls: type[Action[Any]]) -> Condition:
        """Compile a condition for one kind of action.

        Raises:
            ConditionError: it is no condition, names something that the action has not, or mixes types.
        """
        for found in _DECIMAL.finditer(when):
            if _decimal(found["number"]) is UNUSABLE:
                line = when.count("\n", 0, found.start())
                raise ConditionError(f'{found["number"]!r} is no decimal number; write decimal("2500.00")', line)
        _check_choices(when, cls)
        known = variables("args", cls) | variables("facts", cls.facts_type())
        try:
            expression = self._environment(cls, known).compile(_with_has(when, known))
        except RuntimeError as exc:  # the package raises nothing more exact
            reason = str(exc).split("\n")[0].removeprefix("INVALID_ARGUMENT: ERROR: ")
            found_at = re.match(r"<input>:(\d+):(\d+): (.*)", reason)
            if found_at is None:
                raise ConditionError(reason) from exc
            said = f"column {found_at[2]}: {_explained(found_at[3], cls)}"
            raise ConditionError(said, int(found_at[1]) - 1) from exc
        if expression.return_type() != cel.Type.BOOL:
            raise ConditionError(f"it gives {expression.return_type().name()}, not a yes or no")
        return Condition(expression)

    def _environment(self, cls: type[Action[Any]], known: dict[str, Any]) -> Any:
        if cls not in self._environments:
            self._environments[cls] = cel.NewEnv(variables=known | _ABOUT_ALL, extensions=[self._extension])
        return self._environments[cls]


def data_of(action: Action[Any], facts: Facts, requester: Principal) -> dict[str, Any]:
    """Give what conditions are evaluated over."""
    return {
        "requested_by": requester.id,
        "roles": sorted(requester.roles),
        **_tool(type(action)),
        **values("args", action),
        **values("facts", facts),
    }


def tests_claims(when: str) -> bool:
    """Tell whether a condition may test what a server claims of its tool."""
    code = re.sub(rf"(?s:{_TEXT})", "", when)
    return re.search(rf"\btool\s*\.\s*(?:{'|'.join(CLAIMS)})\b", code) is not None


def _tool(cls: type[Action[Any]]) -> dict[str, Any]:
    origin: ToolOrigin = cls.tool_origin
    return {
        "tool.name": origin.name or cls.tool_name(),
        "tool.server": origin.server or "",
        # What nobody claims is taken for the worse, or a tool that keeps silent would get what another must earn.
        "tool.read_only": origin.read_only is True,
        "tool.destructive": origin.destructive is not False,
        "tool.idempotent": origin.idempotent is True,
        "tool.open_world": origin.open_world is not False,
    }


def _check_choices(when: str, cls: type[Action[Any]]) -> None:
    """Check texts that a field of a few choices is compared with: one that it never is would refuse nothing.

    Raises:
        ConditionError: it is never that.
    """
    fields = {f"args.{name}": one for name, one in testable(cls).items()}
    fields |= {f"facts.{name}": one for name, one in testable(cls.facts_type()).items()}
    choices = {name: one.choices for name, one in fields.items() if one.choices is not None}
    for found in (found for pattern in _COMPARED for found in pattern.finditer(when)):
        name = found["field"]
        for text in re.findall(_ONE, found["texts"]) if name in choices else ():
            if text[1:-1] not in choices[name]:
                known = ", ".join(repr(one) for one in choices[name])
                line = when.count("\n", 0, found.start())
                raise ConditionError(f"{name} is never {text[1:-1]!r}; it is one of {known}", line)


def _with_has(when: str, known: Mapping[str, Any]) -> str:
    """Write `has(args.limit)` as the variable `has.args.limit`, of the same length: columns stay what they are.

    Raises:
        ConditionError: it asks so of what is always given. CEL would take that for the value itself.
    """

    def written_so(found: re.Match[str]) -> str:
        what = "".join((found["what"] or "").split())
        if f"has.{what}" in known:
            lines = found[0].count("\n")
            return f"has.{what}".ljust(len(found[0]) - lines) + "\n" * lines
        if what in known:
            line = when.count("\n", 0, found.start())
            raise ConditionError(f"{what} is always given; has(…) is for what may be missing", line)
        return found[0]

    return _HAS.sub(written_so, when)


def _decimal(text: str) -> Any:
    try:
        return exact(Decimal(text))
    except InvalidOperation:
        return UNUSABLE


def _decimals() -> Any:
    def of_text(text: str) -> Any:
        number = _decimal(text)
        if number is UNUSABLE:
            raise ValueError(f"{text[:40]!r} is no decimal number that can be compared")
        return number

    def of_whole(number: int) -> Any:
        return of_text(str(number))

    kinds = [("text", cel.Type.STRING, of_text), ("int", cel.Type.INT, of_whole)]
    overloads = [
        cel.Overload(f"decimal_{name}", return_type=cel.Type.DURATION, parameters=[kind], is_member=False, impl=impl)
        for name, kind, impl in kinds
    ]
    return cel.FunctionDecl("decimal", overloads)


def _function(name: str, impl: Callable[[int], int]) -> Any:
    overload = cel.Overload(
        f"{name}_int", return_type=cel.Type.INT, parameters=[cel.Type.INT], is_member=False, impl=impl
    )
    return cel.FunctionDecl(name, [overload])


def _explained(wrong: str, cls: type[Action[Any]]) -> str:
    """Say what is wrong with a condition for people who do not know CEL, and what to write."""
    for theirs, ours in _WORDS.items():
        wrong = wrong.replace(theirs, ours)
    if wrong.startswith("Syntax error"):
        return f"{wrong.partition(' expecting ')[0]}; write == for equal, && for and, || for or, ! for not"
    if overload := re.fullmatch(r"found no matching overload for '_?(\S+?)_?' applied to '\((.*)\)'", wrong):
        return f"{overload[1]} is not for {overload[2].replace(', ', ' and ')}{_instead(overload[2])}"
    if "type 'bytes' cannot be the operand" in wrong:
        return "what is in this list or map has no type that a condition can test; it can be counted, with size(…)"
    named = re.match(r"undeclared reference to '([\w.]+)'", wrong)
    return wrong if named is None else _unknown(named[1], cls)


def _instead(kinds: str) -> str:
    if "null" in kinds:
        return "; ask whether something is given with has(…)"
    if "decimal" in kinds and ("int" in kinds or "double" in kinds or "string" in kinds):
        return '; write decimal("2500.00")'
    return "; write 2500.0" if {"int", "double"} <= set(kinds.split(", ")) else ""


def _unknown(named: str, cls: type[Action[Any]]) -> str:
    prefix, _, name = named.partition(".")
    models = {"args": cls, "facts": cls.facts_type()}
    if prefix in models and (kind := written(models[prefix], name)) is not None:
        inside = [one for one in testable(models[prefix]) if one.startswith(f"{name}.")]
        if name in nested(models[prefix]) and inside:
            return f"{named} is {kind}; test what is in it, for example {prefix}.{inside[0]}"
        return f"{named} is {kind}, which no condition can test"
    known = [name for name in variables("args", cls) | variables("facts", cls.facts_type()) if name[:4] != "has."]
    return f"{named} is not known; known are {', '.join([*known, *_ABOUT_ALL])}"


def _failure(said: str) -> str:
    """Say why an evaluation failed, in the words of the policy."""
    if missing := re.search(r"Unexpected value type for '([^']+)': NoneType", said):
        return f"{missing[1]} is not given; test has({missing[1]}) before it"
    if unusable := re.search(r"value type for '([^']+)': _Unusable", said):
        return f"{unusable[1]} is a number that cannot be compared exactly"
    return said
