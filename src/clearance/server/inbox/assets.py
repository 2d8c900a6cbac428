"""Templates and files of the inbox, read once, in a thread: the event loop of the server must not wait for a disk."""

import asyncio
import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined

from clearance.desk.comparison import plain
from clearance.server.inbox import text
from clearance.text.rendering import is_cut, line

_HERE = Path(__file__).parent
_TYPES = {".svg": "image/svg+xml", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}


@dataclass(frozen=True)
class File:
    """A static file."""

    body: bytes
    packed: bytes
    media_type: str
    #: Changes with the content: stands in addresses, so that browsers may keep the file for good.
    version: str


@cache
def files() -> dict[str, File]:
    """Read the static files by name. Blocks at its first call."""
    found = {}
    for path in sorted((_HERE / "static").iterdir()):
        if path.suffix in _TYPES:
            body = path.read_bytes()
            version = hashlib.sha256(body).hexdigest()[:12]
            found[path.name] = File(body, gzip.compress(body, 9, mtime=0), _TYPES[path.suffix], version)
    return found


@cache
def environment() -> Environment:
    """Read and compile the templates. Blocks at its first call."""
    sources = {path.name: path.read_text() for path in (_HERE / "templates").glob("*.html")}
    made = Environment(
        loader=DictLoader(sources), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters |= {
        "ours": text.ours, "sentence": text.sentence, "theirs": text.theirs, "whole": text.whole, "name": text.name,
        "ident": text.ident, "parts": text.parts, "plain": plain, "bare": line, "is_cut": is_cut,
    }  # fmt: skip
    made.globals["asset"] = asset
    for name in sources:
        made.get_template(name)
    return made


def asset(name: str) -> str:
    """Give the address of a static file."""
    return f"/inbox/static/{name}?v={files()[name].version}"


async def load() -> None:
    """Read everything, unless it was."""
    if not environment.cache_info().currsize or not files.cache_info().currsize:
        await asyncio.to_thread(lambda: (files(), environment()))


def render(template: str, **values: Any) -> str:
    """Render a template; `load` has been awaited."""
    return environment().get_template(template).render(**values)
