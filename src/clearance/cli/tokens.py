"""`clearance token`: sign in to a development server."""

from datetime import timedelta
from typing import Annotated

import typer

from clearance.cli.project import current_clearance, current_settings
from clearance.cli.terminal import Failed, say

_LONGEST_H = 24 * 30


def token(
    name: Annotated[str, typer.Argument(help="Whom it names.")],
    role: Annotated[list[str] | None, typer.Option(help="A role of the policy; may be given more than once.")] = None,
    hours: Annotated[int, typer.Option(min=1, max=_LONGEST_H, help="How long it counts.")] = 12,
) -> None:
    """Print a token for a development server, signed with its secret. In production your identity provider does that.

    Use it as CLEARANCE_TOKEN here, or as the API key in a page.
    """
    from clearance.key_files import auth_secret
    from clearance.server.entry.tokens import NotSignedInError, make_token
    from clearance.settings import SettingsError

    settings = current_settings()
    if settings.auth_jwks_url:
        raise Failed("AUTH_JWKS_URL is set: tokens come from that identity provider, and no other counts.")
    roles = role or []
    known = current_clearance().read_policy().roles
    unknown = [one for one in roles if one not in known]
    if unknown:
        raise typer.BadParameter(f"unknown role {unknown[0]!r}; the policy has {', '.join(known)}", param_hint="--role")
    try:
        secret = auth_secret(settings)
        say(make_token(settings, secret, name, roles, timedelta(hours=hours)))
    except SettingsError as exc:
        raise Failed(str(exc)) from exc
    except NotSignedInError as exc:
        raise typer.BadParameter(f"{name!r} is {exc}", param_hint="NAME") from exc
