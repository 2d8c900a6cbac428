"""What a request's path says, read as the router reads it."""

from starlette.types import Scope


def parts_of(scope: Scope) -> list[str]:
    """Give the parts of a path below where the server is mounted; empty ones, of double or last slashes, left out."""
    below = str(scope["path"]).removeprefix(scope.get("root_path", ""))
    return [part for part in below.split("/") if part]


def is_inside(scope: Scope) -> bool:
    """Tell whether this comes from the server's own client, in this process; nothing from outside has this root."""
    root: str = scope.get("root_path", "")
    return root == "/noauth" or root.startswith("/noauth/")
