"""Settings for tests, never from a `.env`, and the parts that a server would open by them."""

from typing import Any

from agent.actions import ACTIONS
from agent.bank import MIGRATIONS
from agent.settings import AgentSettings
from clearance.actions.action import Actions
from clearance.gate.policy import load_policy
from clearance.parts import Parts, open_parts
from clearance.settings import Settings


def told(**given: Any) -> tuple[AgentSettings, Settings]:
    """Give the agent's settings and the library's, each with those of `given` that are its own."""
    own = {name: value for name, value in given.items() if name in AgentSettings.model_fields}
    shared = {name: value for name, value in given.items() if name not in own}
    return AgentSettings(_env_file=None, **own), Settings(_env_file=None, **shared)  # type: ignore[call-arg]


def opened(settings: Settings) -> Parts:
    """Open the parts of the sample agent under these settings, as its `Clearance` does."""
    actions = Actions(ACTIONS)
    policy = load_policy(settings.policy_file, actions, {"usd": lambda dollars: dollars * 100})
    return open_parts(settings, actions, policy, MIGRATIONS)
