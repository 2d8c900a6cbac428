"""The policy: a table of rules read from `policy.toml`, first match decides, conditions in CEL.

A pure function from an action, its facts and its requester to a verdict. Everything that can be wrong with the file is
found when it is loaded: unknown keys, actions, servers, roles, fields, and conditions whose types do not fit.
"""

import re
import tomllib
import typing
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from clearance.actions.action import Action, Actions, Facts
from clearance.errors import PolicyError
from clearance.gate.conditions import Condition, ConditionError, Conditions, Failed, data_of, tests_claims
from clearance.principal import Principal
from clearance.text.namesakes import namesake

Word = Literal["allow", "ask", "deny"]
Risk = Literal["low", "medium", "high", "critical"]

_KEYS = {
    "": {"roles", "defaults", "rule"},
    "defaults": {"expires", "approvers", "risk"},
    "rule": {"name", "server", "action", "when", "verdict", "risk", "approvers", "approvals", "expires", "why"},
}
#: Characters of a rule's `why`: reviewers read it beside the request.
_LONGEST_WHY = 200
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


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
class Rule:
    """A rule: what it is about, its condition, and what it says."""

    #: The server whose tools it is about; None for any, and for what is of none.
    server: str | None
    #: The tool's name as the model has it, or a pattern of names with `*`.
    action: str
    #: Empty for none.
    when: str
    verdict: Verdict
    #: The condition, compiled for each kind of action that it is about.
    _compiled: "dict[type[Action[Any]], Condition | Failed]" = field(default_factory=dict, repr=False, compare=False)

    def is_about(self, cls: type[Action[Any]]) -> bool:
        """Tell whether it is about a kind of action."""
        server = cls.tool_origin.server
        if self.server is not None and self.server != server:
            return False
        # How its tools are called a server decides: by a name that fits it would let itself through.
        if self.verdict.word == "allow" and self.server is None and "*" in self.action and server is not None:
            return False
        # The pattern has no other sign than `*`, which was checked.
        return fnmatchcase(cls.tool_name(), self.action)


@dataclass(frozen=True)
class Tried:
    """What became of a rule that was tried on a call."""

    rule: Rule
    #: Whether it matched; `Failed` where its condition could not be evaluated.
    outcome: bool | Failed


class Policy:
    """A loaded policy. `judge` is pure: same arguments, same verdict."""

    def __init__(
        self,
        path: str,
        roles: Mapping[str, str],
        rules: list[Rule],
        default: Verdict,
        conditions: Conditions | None = None,
    ) -> None:
        self.path = path
        #: Role to what it is for.
        self.roles = dict(roles)
        self.rules = tuple(rules)
        #: What is said where no rule matches: `ask`, of whom by default.
        self.default = default
        self._conditions = conditions or Conditions({})
        #: The rules that are about a kind of action, in order.
        self._of_kind: dict[type[Action[Any]], tuple[Rule, ...]] = {}

    def judge(self, action: Action[Any], facts: Facts, requester: Principal) -> Verdict:
        """Give the verdict of the first rule that matches; `ask` when none does.

        A condition that fails to evaluate is `deny`: broken is never taken for "does not match".
        """
        for tried in self.tried(action, facts, requester):
            if isinstance(tried.outcome, Failed):
                said = tried.rule.verdict
                return Verdict(
                    "deny", f"{said.rule}: the condition failed ({tried.outcome})", "high", None, 0, said.expires
                )
            if tried.outcome:
                return tried.rule.verdict
        return self.default

    def check(
        self, action: Action[Any], facts: Facts, *, requested_by: str = "somebody", roles: Collection[str] = ()
    ) -> Verdict:
        """Judge a call that nobody made: for tests of a policy."""
        return self.judge(action, facts, Principal(requested_by, roles=frozenset(roles)))

    def tried(self, action: Action[Any], facts: Facts, requester: Principal) -> Iterator[Tried]:
        """Try the rules that are about a call, in order, up to the first that matches or fails."""
        data: dict[str, Any] | None = None
        kind = type(action)
        if kind not in self._of_kind:
            self._of_kind[kind] = tuple(rule for rule in self.rules if rule.is_about(kind))
        for rule in self._of_kind[kind]:
            outcome: bool | Failed = True
            if rule.when:
                data = data_of(action, facts, requester) if data is None else data
                condition = self._compiled(rule, kind)
                outcome = condition if isinstance(condition, Failed) else condition.holds(data)
            yield Tried(rule, outcome)
            if outcome is not False:
                return

    def has_part(self, person: Principal) -> bool:
        """Tell whether somebody holds any role of it: who decides some requests sees them all."""
        return any(person.has_role(role) for role in self.roles)

    def _compiled(self, rule: Rule, cls: type[Action[Any]]) -> Condition | Failed:
        """Give a condition for a kind of action, which may have come after the policy was read."""
        if cls not in rule._compiled:
            try:
                rule._compiled[cls] = self._conditions.compile(rule.when, cls)
            except ConditionError as exc:
                rule._compiled[cls] = Failed(exc)
        return rule._compiled[cls]


def load_policy(
    path: Path, actions: Actions, functions: Mapping[str, Callable[[int], int]], servers: Collection[str] = ()
) -> Policy:
    """Read and check the policy at `path`; `functions` are the integer functions conditions may call, by name.

    Of `servers` not every tool need be known yet: one may not have answered, or wait until an operator has looked.

    Raises:
        PolicyError: missing, not TOML, or it says something that cannot be; names the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as exc:
        raise PolicyError(
            "there is no policy here; write one, or set POLICY_FILE to where it is. The shortest has a role and who is"
            ' asked: roles.approver = "decides", and defaults.approvers = "approver"',
            path=str(path.absolute()),
        ) from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise PolicyError(f"cannot be read: {exc}", path=str(path.absolute())) from exc
    return parse_policy(text, str(path), actions, functions, servers)


def parse_policy(
    text: str,
    path: str,
    actions: Actions,
    functions: Mapping[str, Callable[[int], int]],
    servers: Collection[str] = (),
) -> Policy:
    """Read a policy from text; `path` is for messages.

    Raises:
        PolicyError: see `load_policy`.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        found = re.search(r"at line (\d+)", str(exc))
        raise PolicyError(str(exc), path=path, line=int(found[1]) if found else None) from exc
    return _Loader(text, path, actions, Conditions(functions), servers).load(document)


class _Loader:
    def __init__(
        self, text: str, path: str, actions: Actions, conditions: Conditions, servers: Collection[str]
    ) -> None:
        self._lines = text.splitlines()
        self._servers = {*servers, *(cls.tool_origin.server for cls in actions if cls.tool_origin.server)}
        self._path = path
        self._actions = actions
        self._conditions = conditions
        self._roles: dict[str, str] = {}

    def load(self, document: dict[str, Any]) -> Policy:
        self._known_keys(document, "", None)
        self._roles = self._read_roles(document.get("roles"))
        default = self._read_default(document.get("defaults"))
        rules = document.get("rule", [])
        if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
            raise self._error("rules are written as [[rule]]", self._line("rule"))
        read = [self._read_rule(number, rule, default) for number, rule in enumerate(rules, 1)]
        return Policy(self._path, self._roles, read, default, self._conditions)

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

    def _read_rule(self, number: int, rule: dict[str, Any], default: Verdict) -> Rule:
        self._known_keys(rule, "rule", number)
        server, action = self._about(number, rule)
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
        read = Rule(
            server=server,
            action=action,
            when=self._when(number, rule, allows=word == "allow", server=server),
            verdict=Verdict(
                word=typing.cast(Word, word),
                rule=f"{name}: {why}" if why else f"{name} ({Path(self._path).name}:{self._line('', number)})",
                risk=self._risk(rule.get("risk", "low" if word == "allow" else default.risk), number),
                approvers=self._role(rule.get("approvers", default.approvers), number) if asks else None,
                approvals=approvals if asks else 0,
                expires=self._duration(rule["expires"], number) if "expires" in rule else default.expires,
            ),
        )
        self._compile(read, number)
        return read

    def _about(self, number: int, rule: dict[str, Any]) -> tuple[str | None, str]:
        """Read what a rule is about: the server, and the tool's name or a pattern of names."""
        server = rule.get("server")
        if "server" in rule and server not in self._servers:
            servers = ", ".join(sorted(self._servers))
            known = f"known are {servers}" if servers else "no action here is a tool of a server"
            raise self._error(f"unknown server {server!r}; {known}", self._line("server", number))
        action = rule.get("action", None if server is None else "*")
        names = {cls.tool_name() for cls in self._actions if server in (None, cls.tool_origin.server)}
        if server is not None and names:
            names |= set(self._actions.absent)
        if not isinstance(action, str) or not re.fullmatch(r"[\w*-]+", action):
            wrong = f"unknown action {action!r}; known are {', '.join(sorted(names))}, and * stands for any letters"
            raise self._error(wrong, self._line("action", number))
        # What matches nothing is a name that is misspelled, and would refuse nothing; `*` is meant. Of a server that
        # was never heard nobody can tell.
        is_heard = server is None or bool(names)
        if is_heard and action != "*" and not any(fnmatchcase(name, action) for name in names):
            known = ", ".join(sorted(names))
            raise self._error(f"unknown action {action!r}; known are {known}", self._line("action", number))
        return server, action

    def _when(self, number: int, rule: dict[str, Any], *, allows: bool, server: str | None) -> str:
        when = rule.get("when", "")
        line = self._line("when", number)
        if "when" in rule and (not isinstance(when, str) or not when.strip()):
            raise self._error("when must be a condition, or left out", line)
        if allows and server is None and tests_claims(when):
            raise self._error(
                "what a server claims of its tools allows nothing by itself: name the server whose word counts, with"
                " server = …",
                line,
            )
        return str(when)

    def _compile(self, rule: Rule, number: int) -> None:
        if not rule.when:
            return
        for cls in self._actions:
            if not rule.is_about(cls):
                continue
            try:
                rule._compiled[cls] = self._conditions.compile(rule.when, cls)
            except ConditionError as exc:
                line = self._line("when", number)
                of = "" if rule.action == cls.tool_name() else f"of {cls.tool_name()}, "
                raise self._error(f"when, {of}{exc}", None if line is None else line + exc.line) from exc

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
