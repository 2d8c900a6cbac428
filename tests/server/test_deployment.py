"""What gets deployed is what was tested: the two configurations, and what the platform's own tool makes of them."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LANGGRAPH = str(Path(sys.executable).with_name("langgraph"))


def test_the_development_configuration_differs_only_by_its_checkpointer() -> None:
    deployed = json.loads((ROOT / "langgraph.json").read_text())
    development = json.loads((ROOT / "langgraph.dev.json").read_text())

    assert development.pop("checkpointer") == {"path": "clearance.server.checkpointer.create"}
    assert development == deployed


def test_the_platforms_tool_accepts_the_configuration() -> None:
    for config in ("langgraph.json", "langgraph.dev.json"):
        done = subprocess.run([LANGGRAPH, "validate", "--config", config], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_production_image_has_the_graph_and_leaves_checkpoints_to_the_platform(tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"

    done = subprocess.run([LANGGRAPH, "dockerfile", str(file)], cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr
    written = file.read_text()
    assert "src/agent/graph.py:graph" in written
    assert "clearance.server.app:app" in written
    assert "LANGGRAPH_CHECKPOINTER" not in written
