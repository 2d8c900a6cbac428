"""The policy: a table of rules read from `policy.toml`, first match decides, conditions in CEL.

A pure function from an action, its facts and its requester to a verdict. Everything that can be wrong with the file is
found when it is loaded: unknown keys, actions, roles, fields, and conditions whose types do not fit.
The expression language is https://cel.dev.
"""

import re
import tomllib
import typing
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from cel_expr_python import cel
from pydantic import BaseModel

from agent.clearance.action import Action, Actions, Facts
from agent.clearance.errors import PolicyError
from agent.clearance.namesakes import namesake
from agent.clearance.principal import Principal

Word = Literal["allow", "ask", "deny"]
Risk = Literal["low", "medium", "high", "critical"]

_KEYS = {
    "": {"roles", "defaults", "rule"},
    "defaults": {"expires", "approvers", "risk"},
    "rule": {"name", "action", "when", "verdict", "risk", "approvers", "approvals", "expires", "why"},
}
#: Characters of a rule's `why`: reviewers read it beside the request.
_LONGEST_WHY = 200
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_CEL_TYPES: dict[Any, Any] = {
    int: cel.Type.INT,
    str: cel.Type.STRING,
    bool: cel.Type.BOOL,
    datetime: cel.Type.TIMESTAMP,
    list[str]: cel.Type.List(cel.Type.STRING),
}


@dataclass(frozen=True)
class Verdict:
    """The policy's word on an action, with the rule that said so."""

    word: Word
    rule: str
    risk: Risk
    #: Role that may decide; None unless `ask`.
    approvers: str | None
    #: How many different people must approve; 0 unless `ask`.
    approvals: int
    #: How long a decision may take.
    expires: timedelta


@dataclass(frozen=True)
class _Rule:
    action: str
    when: str
    condition: Any  # cel.Expression | None; the package's classes cannot be named in annotations
    verdict: Verdict


class Policy:
    """A loaded policy. `judge` is pure: same arguments, same verdict."""

    def __init__(self, path: str, roles: Mapping[str, str], rules: list[_Rule], default: Verdict) -> None:
        self.path = path
        #: Role to what it is for.
        self.roles = dict(roles)
        self._rules = rules
        #: What is said where no rule matches: `ask`, of whom by default.
        self.default = default

    def judge(self, action: Action[Any], facts: Facts, requester: Principal) -> Verdict:
        """Give the verdict of the first rule that matches; `ask` when none does.

        A condition that fails to evaluate is `deny`: broken is never taken for "does not match".
        """
        data = _data(action, facts, requester)
        for rule in self._rules:
            if rule.action != action.tool_name():
                continue
            if rule.condition is None:
                return rule.verdict
            value = rule.condition.eval(data=data)
            if value.type() != cel.Type.BOOL:
                return Verdict(
                    "deny", f"{rule.verdict.rule}: the condition failed ({value.value()})", "high", None, 0,
                    rule.verdict.expires,
                )  # fmt: skip
            if value.value():
                return rule.verdict
        return self.default

    def has_part(self, person: Principal) -> bool:
        """Tell whether somebody holds any role of it: who decides some requests sees them all."""
        return any(person.has_role(role) for role in self.roles)

    def explain(self) -> list[tuple[str, str, Verdict]]:
        """List the rules in order as (action, condition or "", verdict); the last row, action "*", is the default."""
        return [*((rule.action, rule.when, rule.verdict) for rule in self._rules), ("*", "", self.default)]


def load_policy(path: Path, actions: Actions, functions: Mapping[str, Callable[[int], int]]) -> Policy:
    """Read and check the policy at `path`; `functions` are the integer functions conditions may call (`usd`).

    Raises:
        PolicyError: missing, not TOML, or it says something that cannot be; names the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise PolicyError(f"cannot be read: {exc}", path=str(path.absolute())) from exc
    return parse_policy(text, str(path), actions, functions)


def parse_policy(text: str, path: str, actions: Actions, functions: Mapping[str, Callable[[int], int]]) -> Policy:
    """Read a policy from text; `path` is for messages.

    Raises:
        PolicyError: see `load_policy`.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        found = re.search(r"at line (\d+)", str(exc))
        raise PolicyError(str(exc), path=path, line=int(found[1]) if found else None) from exc
    return _Loader(text, path, actions, functions).load(document)


class _Loader:
    def __init__(self, text: str, path: str, actions: Actions, functions: Mapping[str, Callable[[int], int]]) -> None:
        self._lines = text.splitlines()
        self._path = path
        self._actions = actions
        self._extension = cel.CelExtension("clearance", [_function(name, impl) for name, impl in functions.items()])
        self._environments: dict[str, Any] = {}
        self._roles: dict[str, str] = {}

    def load(self, document: dict[str, Any]) -> Policy:
        self._known_keys(document, "", None)
        self._roles = self._read_roles(document.get("roles"))
        default = self._read_default(document.get("defaults"))
        rules = document.get("rule", [])
        if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
            raise self._error("rules are written as [[rule]]", self._line("rule"))
        read = [self._read_rule(number, rule, default) for number, rule in enumerate(rules, 1)]
        return Policy(self._path, self._roles, read, default)

    def _read_roles(self, roles: Any) -> dict[str, str]:
        if not isinstance(roles, dict) or not roles or not all(isinstance(text, str) for text in roles.values()):
            raise self._error(
                'needs a table [roles] with one line per role: name = "what it is for"', self._line("roles")
            )
        for role in roles:
            other = namesake(role, roles)
            if other or not unicodedata.is_normalized("NFC", role):
                why = f"looks like {other!r}" if other else "is not in Unicode's form NFC, so no token could hold it"
                raise self._error(f"the role {role!r} {why}", self._line("roles"))
        return roles

    def _read_default(self, defaults: Any) -> Verdict:
        if not isinstance(defaults, dict):
            raise self._error("needs a table [defaults] with expires, approvers and risk", self._line("defaults"))
        self._known_keys(defaults, "defaults", None)
        return Verdict(
            word="ask",
            rule="default: no rule matched",
            risk=self._risk(defaults.get("risk", "high"), None),
            approvers=self._role(defaults.get("approvers"), None),
            approvals=1,
            expires=self._duration(defaults.get("expires", "24h"), None),
        )

    def _read_rule(self, number: int, rule: dict[str, Any], default: Verdict) -> _Rule:
        self._known_keys(rule, "rule", number)
        action = rule.get("action")
        if not isinstance(action, str) or action not in self._actions:
            known = ", ".join(sorted(cls.tool_name() for cls in self._actions))
            raise self._error(f"unknown action {action!r}; known are {known}", self._line("action", number))
        word = rule.get("verdict")
        if word not in typing.get_args(Word):
            raise self._error(f"verdict must be allow, ask or deny, not {word!r}", self._line("verdict", number))
        asks = word == "ask"
        for key in ("approvers", "approvals"):
            if key in rule and not asks:
                raise self._error(f"{key} belongs to verdict ask, not {word}", self._line(key, number))
        approvals = rule.get("approvals", 1)
        if type(approvals) is not int or not 1 <= approvals <= 5:
            raise self._error(f"approvals must be 1 to 5 people, not {approvals!r}", self._line("approvals", number))
        name = rule.get("name", f"rule {number}")
        if not isinstance(name, str):
            raise self._error("name must be text", self._line("name", number))
        why = rule.get("why", "")
        if not isinstance(why, str) or len(why) > _LONGEST_WHY or "\n" in why:
            raise self._error(
                f"why must be one sentence of at most {_LONGEST_WHY} characters", self._line("why", number)
            )
        when = rule.get("when", "")
        return _Rule(
            action=action,
            when=when,
            condition=self._compile(when, action, number) if "when" in rule else None,
            verdict=Verdict(
                word=typing.cast(Word, word),
                rule=f"{name}: {why}" if why else f"{name} ({Path(self._path).name}:{self._line('', number)})",
                risk=self._risk(rule.get("risk", "low" if word == "allow" else default.risk), number),
                approvers=self._role(rule.get("approvers", default.approvers), number) if asks else None,
                approvals=approvals if asks else 0,
                expires=self._duration(rule["expires"], number) if "expires" in rule else default.expires,
            ),
        )

    def _compile(self, when: Any, action: str, number: int) -> Any:
        line = self._line("when", number)
        if not isinstance(when, str) or not when.strip():
            raise self._error("when must be a condition, or left out", line)
        try:
            expression = self._environment(action).compile(when)
        except RuntimeError as exc:  # the package raises nothing more exact
            reason = str(exc).split("\n")[0].removeprefix("INVALID_ARGUMENT: ERROR: ")
            found = re.match(r"<input>:(\d+):(\d+): (.*)", reason)
            if found is None:
                raise self._error(f"when: {reason}", line) from exc
            raise self._error(
                f"when, column {found[2]}: {found[3]}", None if line is None else line + int(found[1]) - 1
            ) from exc
        if expression.return_type() != cel.Type.BOOL:
            raise self._error(f"when gives {expression.return_type().name()}, not a yes or no", line)
        return expression

    def _environment(self, action: str) -> Any:
        if action not in self._environments:
            cls = self._actions[action]
            variables = {
                **_variables("args", cls),
                **_variables("facts", cls.facts_type()),
                "requested_by": cel.Type.STRING,
                "roles": cel.Type.List(cel.Type.STRING),
            }
            self._environments[action] = cel.NewEnv(variables=variables, extensions=[self._extension])
        return self._environments[action]

    def _risk(self, risk: Any, number: int | None) -> Risk:
        if risk not in typing.get_args(Risk):
            known = ", ".join(typing.get_args(Risk))
            raise self._error(f"unknown risk {risk!r}; known are {known}", self._line("risk", number))
        return typing.cast(Risk, risk)

    def _role(self, role: Any, number: int | None) -> str:
        if not isinstance(role, str) or role not in self._roles:
            known = ", ".join(sorted(self._roles))
            raise self._error(f"unknown role {role!r}; [roles] has {known}", self._line("approvers", number))
        return role

    def _duration(self, text: Any, number: int | None) -> timedelta:
        found = re.fullmatch(r"([1-9]\d{0,5})([smhd])", text) if isinstance(text, str) else None
        if found is None:
            raise self._error(
                f'expires must be a number and s, m, h or d, such as "24h", not {text!r}', self._line("expires", number)
            )
        return timedelta(seconds=int(found[1]) * _UNITS[found[2]])

    def _known_keys(self, table: dict[str, Any], kind: str, number: int | None) -> None:
        for key in table:
            if key not in _KEYS[kind]:
                raise self._error(
                    f"unknown key {key!r}; known are {', '.join(sorted(_KEYS[kind]))}", self._line(key, number)
                )

    def _error(self, message: str, line: int | None) -> PolicyError:
        return PolicyError(message, path=self._path, line=line)

    def _line(self, key: str, number: int | None = None) -> int | None:
        """Find the line of `key`, within rule `number` if given; the rule's own line when the key is not there."""
        start = 0
        if number is not None:
            headers = [i for i, text in enumerate(self._lines) if re.match(r"\s*\[\[\s*rule\s*\]\]", text)]
            if len(headers) < number:
                return None  # rules written inline: the message alone has to do
            start = headers[number - 1]
        for index in range(start, len(self._lines)):
            text = self._lines[index]
            if index > start and number is not None and re.match(r"\s*\[", text):
                break
            if key and re.match(rf"\s*\[*\s*[\"']?{re.escape(key)}[\"']?\s*[=\]]", text):
                return index + 1
        return start + 1 if number is not None else None


def _function(name: str, impl: Callable[[int], int]) -> Any:
    overload = cel.Overload(
        f"{name}_int", return_type=cel.Type.INT, parameters=[cel.Type.INT], is_member=False, impl=impl
    )
    return cel.FunctionDecl(name, [overload])


def _variables(prefix: str, model: type[BaseModel]) -> dict[str, Any]:
    # A field of another type (optional ones among them) is left out: a condition that names it does not compile.
    return {
        f"{prefix}.{name}": _CEL_TYPES[_plain(field.annotation)]
        for name, field in model.model_fields.items()
        if _plain(field.annotation) in _CEL_TYPES
    }


def _plain(annotation: Any) -> Any:
    """Strip `Annotated` and read a `Literal` of strings as `str`."""
    while typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) is Literal and all(isinstance(a, str) for a in typing.get_args(annotation)):
        return str
    return annotation


def _data(action: Action[Any], facts: Facts, requester: Principal) -> dict[str, Any]:
    data: dict[str, Any] = {"requested_by": requester.id, "roles": sorted(requester.roles)}
    for prefix, model in (("args", action), ("facts", facts)):
        for name in type(model).model_fields:
            value = getattr(model, name)
            data[f"{prefix}.{name}"] = value.astimezone(UTC) if isinstance(value, datetime) else value
    return data
