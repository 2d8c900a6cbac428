"""Clearance: what an agent must not do alone is held until the right people have cleared exactly that call.

    START → receive → model ⇄ dispatch → tools → dispatch …

What a project writes and calls is here, and in `clearance.actions`; every other module may change with any version.

    Clearance                   what a project puts behind its approvals, and the one object of it in a process
    Action, Facts, Effect       a call with an effect: its arguments, what is true about it, what it does
    ExternalAction, gated       one whose effect is elsewhere; one made of a tool that exists already
    Material, Volatile, Shown   how a fact counts, and how a field reads
    Reading, ActionError        what `facts` reads by, and the sentence why something cannot be
    Review, Change, Concern, Activity   how reviewers see an action
    @lookup                     a tool that changes nothing
    Migrations                  the project's own tables, run after ours
    OfflineModel                a small model that needs no network, to try it all

The folders; each has a map of its own, and each imports only from what stands below it here:

    server/        who gets in, the approvals API, the inbox, what goes on by itself
    cli/           the `clearance` command, with the inbox in a terminal
    graph/         the four steps, and the ways into a graph
    application    `Clearance`
    mcp_start      what tools its MCP servers have
    parts          what it opens: settings, database, gate
    desk/          what people are shown and do
    models/        what the chat model is given, and what of its answer is taken
    key_files      the keys of a deployment, from its settings or from files
    gate/          what passes: the question, what an answer means, who may decide, policy, carrying out
    journal/       what is kept: turns, plans, requests, decisions, receipts, and the audit log over them
    actions/       what an author writes
    db/            engine, tables, migrations; the only place that knows two dialects
    importing      what a setting names as `module:variable`
    settings       the one settings object
    principal      who acts
    contract       what the approvals API takes and gives
    text/          text from outside, made safe
    loglines       nothing from outside makes up lines of the server's log
    message_values  what a message is, and copies of it
    canonical      keys and digests
    errors         what can go wrong around the gate
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clearance.actions import (
        Action,
        ActionError,
        Activity,
        Change,
        Concern,
        Effect,
        ExternalAction,
        Facts,
        Material,
        Reading,
        Review,
        Shown,
        Volatile,
    )
    from clearance.actions.gated import gated
    from clearance.application import Clearance
    from clearance.db.chain import Migrations
    from clearance.graph.lookups import lookup
    from clearance.models.offline import OfflineModel

__all__ = [
    "Action",
    "ActionError",
    "Activity",
    "Change",
    "Clearance",
    "Concern",
    "Effect",
    "ExternalAction",
    "Facts",
    "Material",
    "Migrations",
    "OfflineModel",
    "Reading",
    "Review",
    "Shown",
    "Volatile",
    "gated",
    "lookup",
]
#: Where those come from that `clearance.actions` does not have.
_HOMES = {
    "Clearance": "application",
    "Migrations": "db.chain",
    "OfflineModel": "models.offline",
    "gated": "actions.gated",
    "lookup": "graph.lookups",
}


def __getattr__(name: str) -> object:
    """Import a public name at its first use: the command line needs few of them, and none of langchain."""
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module 'clearance' has no attribute {name!r}")
    return getattr(import_module(f"clearance.{_HOMES.get(name, 'actions')}"), name)
