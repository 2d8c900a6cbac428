"""The commands, in the order of `clearance --help`; the project's own stand behind them."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from clearance.cli import audit, chat, effects, inbox, migrating, policy, requests, statistics, tokens, tools, watch
from clearance.cli.project import current_settings, find_project
from clearance.cli.terminal import CODES, Failed

_SERVER = "Talk and decide, over the server"
_MACHINE = "On this machine, in the database of DATABASE_URL"


class WithProject(TyperGroup):
    """Our commands, and behind them those of the project in the working directory."""

    def list_commands(self, ctx: Any) -> list[str]:
        """List all, ours first."""
        return [*super().list_commands(ctx), *_own(self)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Give one of ours, else one of the project's."""
        return super().get_command(ctx, cmd_name) or _own(self).get(cmd_name)


def _own(group: TyperGroup) -> dict[str, Any]:
    """Give the project's commands by name; none where the settings name neither them nor a project.

    Raises:
        Failed: one of them is called like one of ours, or there are none where COMMANDS says.
    """
    from clearance.settings import SettingsError

    find_project()
    try:
        settings = current_settings()
    except Failed:
        return {}  # whoever needs it says so; `clearance --help` and what talks to a server does not
    try:
        app = _named(settings.commands) if settings.commands else _of_project(settings.clearance)
    except SettingsError:
        return {}
    if app is None:
        return {}
    app.callback()(lambda: None)  # else an app of one command is that command
    own: dict[str, Any] = dict(getattr(typer.main.get_command(app), "commands", {}))
    if taken := sorted(own.keys() & group.commands.keys()):
        raise Failed(f"The project's command {taken[0]!r} is called like one of Clearance's own; give it another name.")
    return own


def _named(name: str) -> typer.Typer:
    from clearance.importing import imported
    from clearance.settings import SettingsError

    try:
        found = imported("COMMANDS", name, what="typer app", example="my_agent.commands:app")
    except SettingsError as exc:
        raise Failed(str(exc)) from exc
    if not isinstance(found, typer.Typer):
        raise Failed(f"COMMANDS: {name!r} is no typer app; write where it is made as module:variable.")
    return found


def _of_project(name: str) -> typer.Typer | None:
    from clearance.application import the_clearance

    made = the_clearance(name).commands if name else None
    return made() if made is not None else None


app = typer.Typer(
    cls=WithProject,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=CODES,
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        typer.echo(f"clearance {version('clearance')}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    url: Annotated[
        str, typer.Option(envvar="LANGGRAPH_URL", help="Server to talk to.", metavar="URL")
    ] = "http://127.0.0.1:2024",
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Talk to the agent, and clear or reject what it holds.

    The server is at --url; a token in CLEARANCE_TOKEN is sent along.
    A REQUEST is the id that `pending` prints, or a unique beginning of it.
    """
    context.obj = url


app.command(rich_help_panel=_SERVER)(chat.chat)
app.command(rich_help_panel=_SERVER)(inbox.inbox)
app.command(rich_help_panel=_SERVER)(watch.watch)
app.command(rich_help_panel=_SERVER)(requests.pending)
app.command(rich_help_panel=_SERVER, epilog=CODES)(requests.show)
app.command(rich_help_panel=_SERVER, epilog=CODES)(requests.approve)
app.command(rich_help_panel=_SERVER, epilog=CODES)(requests.reject)
app.command(rich_help_panel=_SERVER, epilog=CODES)(requests.edit)
app.command(rich_help_panel=_SERVER, epilog=CODES)(requests.settle)
app.command(rich_help_panel=_MACHINE)(effects.status)
app.command(rich_help_panel=_MACHINE)(effects.freeze)
app.command(rich_help_panel=_MACHINE)(effects.unfreeze)
app.add_typer(audit.app, name="audit", rich_help_panel=_MACHINE)
app.command(rich_help_panel=_MACHINE)(statistics.stats)
app.add_typer(policy.app, name="policy", rich_help_panel=_MACHINE)
app.add_typer(tools.app, name="tools", rich_help_panel=_MACHINE)
app.command(rich_help_panel=_MACHINE)(tokens.token)
app.command(rich_help_panel=_MACHINE)(migrating.migrate)
