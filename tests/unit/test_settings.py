"""Settings: what the documents name is what the code reads, and a bad value is named."""

import re
import shutil
from pathlib import Path

import pytest

from agent.settings import AgentSettings
from clearance.settings import Settings, SettingsError, read, read_settings

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _no_env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields | AgentSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def documented() -> dict[str, str]:
    """Read the names and values of .env.example."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if re.match(r"[A-Z_]+=", line))


def test_the_example_names_every_setting_and_no_other() -> None:
    assert set(documented()) == {name.upper() for name in Settings.model_fields | AgentSettings.model_fields}


def test_the_example_shows_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(ROOT / "pyproject.toml", "pyproject.toml")
    defaults = read_settings(), read(AgentSettings)
    for name, value in documented().items():
        monkeypatch.setenv(name, value)

    assert (read_settings(), read(AgentSettings)) == defaults


@pytest.mark.parametrize(("name", "value"), [("MODEL_TIMEOUT_S", "soon"), ("MODEL_STEPS", "0"), ("AUTH", "maybe")])
def test_a_value_that_cannot_be_is_refused_by_the_variables_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError, match=name):
        read_settings()


def test_authentication_is_on_unless_it_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_settings().auth == "on"

    monkeypatch.setenv("AUTH", "off")

    assert read_settings().auth == "off"


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("AUTH_ISSUER", {"AUTH_JWKS_URL": "https://id.example/keys"}),
        ("AUTH_JWKS_URL", {"AUTH_JWKS_URL": "http://id.example/keys", "AUTH_ISSUER": "https://id.example"}),
        ("AUTH_JWKS_URL", {"AUTH_JWKS_URL": "http://127.0.0.1.id.example/keys", "AUTH_ISSUER": "https://id.example"}),
        ("AUTH_SECRET", {"AUTH_SECRET": "short"}),
        ("WEBHOOK_SECRET", {"WEBHOOK_URL": "https://hooks.example", "WEBHOOK_SECRET": "short"}),
    ],
)
def test_settings_that_open_a_hole_together_are_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, given: dict[str, str]
) -> None:
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)

    with pytest.raises(SettingsError, match=name):
        read_settings()


@pytest.mark.parametrize(
    ("given", "remotely"),
    [
        ({}, False),
        ({"REMOTE": "on"}, True),
        ({"AUTH_JWKS_URL": "https://id.example/keys", "AUTH_ISSUER": "https://id.example"}, True),
        ({"AUTH_JWKS_URL": "https://id.example/keys", "AUTH_ISSUER": "https://id.example", "REMOTE": "off"}, False),
    ],
)
def test_a_development_server_answers_on_loopback_only(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], remotely: bool
) -> None:
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)

    assert read_settings().answers_remotely is remotely
