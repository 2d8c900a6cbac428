"""The commands, in the order of `clearance --help`."""

from importlib.metadata import version
from typing import Annotated

import typer

from agent.cli import audit, bank, chat, decisions, effects, inbox, policy, statistics, tokens, watch
from agent.cli.terminal import CODES

_SERVER = "Talk and decide, over the server"
_MACHINE = "On this machine, in the database of DATABASE_URL"

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=CODES,
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
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
app.command(rich_help_panel=_SERVER)(decisions.pending)
app.command(rich_help_panel=_SERVER, epilog=CODES)(decisions.show)
app.command(rich_help_panel=_SERVER, epilog=CODES)(decisions.approve)
app.command(rich_help_panel=_SERVER, epilog=CODES)(decisions.reject)
app.command(rich_help_panel=_SERVER, epilog=CODES)(decisions.edit)
app.command(rich_help_panel=_MACHINE)(effects.status)
app.command(rich_help_panel=_MACHINE)(effects.freeze)
app.command(rich_help_panel=_MACHINE)(effects.unfreeze)
app.add_typer(audit.app, name="audit", rich_help_panel=_MACHINE)
app.command(rich_help_panel=_MACHINE)(statistics.stats)
app.add_typer(policy.app, name="policy", rich_help_panel=_MACHINE)
app.command(rich_help_panel=_MACHINE)(tokens.token)
app.command(rich_help_panel=_MACHINE)(bank.migrate)
app.command(rich_help_panel=_MACHINE)(bank.seed)
