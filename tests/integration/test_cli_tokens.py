"""`clearance token`: who signs in to a development server."""

from pathlib import Path

import pytest

from clearance.key_files import auth_secret
from clearance.server.entry.tokens import SignedIn, TokenReader
from clearance.settings import Settings, read_settings
from tests.support.command import run
from tests.support.server import ROOT


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("CLEARANCE", "agent.app:clearance")
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'clearance.db'}")
    monkeypatch.setenv("POLICY_FILE", str(ROOT / "policy.toml"))


async def read(token: str) -> SignedIn:
    settings = read_settings()
    return await TokenReader(settings, auth_secret(settings)).read(token.strip())


async def test_a_token_is_printed_alone_and_the_server_takes_it() -> None:
    ran = run("token", "olga", "--role", "approver", "--role", "treasurer")

    assert (ran.code, ran.err, ran.out.count("\n")) == (0, "", 1)
    assert await read(ran.out) == SignedIn("olga", ("approver", "treasurer"))


async def test_a_token_without_a_role_has_none() -> None:
    assert await read(run("token", "olga").out) == SignedIn("olga", ())


async def test_the_secret_is_the_one_that_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AUTH_SECRET", "s" * 40)

    token = run("token", "olga").out

    assert await TokenReader(read_settings(), b"s" * 40).read(token.strip()) == SignedIn("olga", ())
    assert not (tmp_path / "clearance.auth-secret").exists()


def test_the_secret_that_is_made_is_for_its_owner_alone(tmp_path: Path) -> None:
    first, second = run("token", "olga"), run("token", "ana")

    assert (first.code, second.code) == (0, 0)
    assert (tmp_path / "clearance.auth-secret").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["olga", "--role", "admin"], "unknown role 'admin'"),
        (["system"], "stands for no person"),
        (["os:root"], "stands for no person"),
        ([""], "missing or too long"),
        (["x" * 201], "missing or too long"),
        (["ol\u200bga"], "cannot be seen"),
        (["olga", "--hours", "0"], "hours"),
        (["olga", "--hours", "721"], "hours"),
        ([], "Missing argument"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence_and_gives_no_token(arguments: list[str], says: str) -> None:
    ran = run("token", *arguments)

    assert (ran.code, ran.out) == (2, "")
    assert says in " ".join(ran.err.replace("│", " ").split())


def test_with_an_identity_provider_no_token_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTH_JWKS_URL", "https://id.example.com/keys")
    monkeypatch.setenv("AUTH_ISSUER", "https://id.example.com/")

    ran = run("token", "olga")

    assert (ran.code, ran.out) == (1, "")
    assert "AUTH_JWKS_URL" in ran.err


def test_without_a_secret_and_a_file_to_keep_one_no_token_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARANCE", "agent.app:clearance")
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1/none")

    ran = run("token", "olga")

    assert (ran.code, ran.out) == (1, "")
    assert "AUTH_SECRET: missing; set it, for example to what `openssl rand -hex 32` prints" in ran.err
