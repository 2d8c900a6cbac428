"""Servers with three graphs: the sample's and `second` are gated, `plain` is not."""

import json
from pathlib import Path

from tests.support.aegra import Aegra
from tests.support.server import Server

SECOND, PLAIN = "second", "plain"


class SeveralServer(Server):
    """`langgraph dev` with three graphs."""

    def _configuration(self) -> Path:
        return with_graphs(self.folder, super()._configuration(), SECOND, PLAIN)


class SeveralAegra(Aegra):
    """Aegra with three graphs."""

    def _configuration(self) -> Path:
        return with_graphs(self.folder, super()._configuration(), SECOND, PLAIN)


def with_graphs(folder: Path, configuration: Path, *names: str) -> Path:
    """Add graphs, each from the file of its name beside this one, to a configuration; give the changed one."""
    read = json.loads(configuration.read_text())
    for name in names:
        link = folder / f"{name}.py"
        if not link.exists():
            link.symlink_to(Path(__file__).with_name(f"{name}.py"))
        read["graphs"][name] = f"./{name}.py:graph"
    changed = folder / "several.json"
    changed.write_text(json.dumps(read))
    return changed
