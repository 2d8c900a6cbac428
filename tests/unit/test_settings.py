"""Settings: what the documents name is what the code reads, and a bad value is named."""

import re
from pathlib import Path

import pytest

from agent.settings import Settings, SettingsError, read_settings

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _no_env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def documented() -> dict[str, str]:
    """Read the names and values of .env.example."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if re.match(r"[A-Z_]+=", line))


def test_the_example_names_every_setting_and_no_other() -> None:
    assert set(documented()) == {name.upper() for name in Settings.model_fields}


def test_the_example_shows_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = read_settings()
    for name, value in documented().items():
        monkeypatch.setenv(name, value)

    assert read_settings() == defaults


@pytest.mark.parametrize(("name", "value"), [("MODEL_TIMEOUT_S", "soon"), ("MODEL_RETRIES", "-1"), ("AUTH", "maybe")])
def test_a_value_that_cannot_be_is_refused_by_the_variables_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError, match=name):
        read_settings()


def test_authentication_is_on_where_the_server_has_one_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_settings().auth == "off"

    monkeypatch.setenv("LANGGRAPH_AUTH", '{"path": "auth.py:auth"}')

    assert read_settings().auth == "on"
