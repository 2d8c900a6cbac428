"""Whom a token names, and that nobody is told why one does not count."""

import asyncio
import base64
import hmac
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearance.server.entry import tokens
from clearance.server.entry.tokens import DEVELOPMENT, NotSignedInError, SignedIn, TokenReader, make_token
from clearance.settings import Settings
from tests.support.provider import ISSUER, Provider, make_claims, running_provider

SECRET = b"a secret for tests, not a secret at all"
OTHER = b"another secret for tests, as long as it"


def settings(**given: Any) -> Settings:
    return Settings(_env_file=None, **given)  # type: ignore[call-arg]  # no .env of whoever runs the tests


def development(**given: Any) -> TokenReader:
    return TokenReader(settings(**given), SECRET)


def signed(subject: Any = "olga", secret: bytes = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    """Sign as the development server does, with claims changed or, by None, left out."""
    return jwt.encode(make_claims(subject, **{"iss": DEVELOPMENT, **claims}), secret, algorithm=algorithm)


def part(value: Any) -> str:
    """Encode one part of a token."""
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def unsigned(header: Any, claims: Any = None, signature: str = "") -> str:
    return f"{part(header)}.{part(claims if claims is not None else {'sub': 'olga'})}.{signature}"


def keyed(header: Any, claims: Any, key: bytes) -> str:
    """Sign with any bytes, which the library would not."""
    text = f"{part(header)}.{part(claims)}"
    return f"{text}.{part(hmac.new(key, text.encode(), 'sha256').digest())}"


@pytest.fixture
def provider() -> Iterator[Provider]:
    with running_provider() as made:
        made.add_key("one")
        made.add_key("two", "ES256")
        yield made


def reader_of(provider: Provider, **given: Any) -> TokenReader:
    return TokenReader(settings(auth_jwks_url=provider.url, auth_issuer=ISSUER, **given), None)


class Clock:
    """The clock of the module under test, which a test moves."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(tokens, "time", made)
    return made


# Development


async def test_a_development_token_names_a_person_and_roles() -> None:
    token = make_token(settings(), SECRET, "olga", ["approver"], timedelta(hours=1))

    assert await development().read(token) == SignedIn("olga", ("approver",))


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("", id="none"),
        pytest.param("x", id="no token"),
        pytest.param("a.b.c", id="three letters"),
        pytest.param("....", id="dots"),
        pytest.param("é.é.é", id="not ascii"),
        pytest.param("a" * 20_000, id="too long"),
        pytest.param(signed(exp=datetime.now(UTC) - timedelta(minutes=2)), id="expired"),
        pytest.param(signed(exp=None), id="without an end"),
        pytest.param(signed(exp="soon"), id="an end that is no time"),
        # Made when tests are collected, which may be long before this one runs: minutes would have passed by then.
        pytest.param(signed(nbf=datetime.now(UTC) + timedelta(days=1)), id="not yet"),
        pytest.param(signed(secret=OTHER), id="another secret"),
        pytest.param(signed(secret=b"\0" * 32), id="a secret of zeros"),
        pytest.param(signed(aud="other"), id="another audience"),
        pytest.param(signed(aud=None), id="no audience"),
        pytest.param(signed(iss="https://id.example.com/"), id="another issuer"),
        pytest.param(signed(iss=None), id="no issuer"),
        pytest.param(jwt.encode({**make_claims(iss=DEVELOPMENT), "sub": 7}, SECRET), id="a name that is a number"),
        pytest.param(signed(None), id="no name"),
        pytest.param(unsigned({"alg": "none", "typ": "JWT"}, {"sub": "olga"}), id="unsigned"),
        pytest.param(unsigned({"alg": "None"}, {"sub": "olga"}), id="unsigned, other letters"),
        pytest.param(unsigned({"alg": "HS256"}, {"sub": "olga"}), id="an empty signature"),
        pytest.param(unsigned({"alg": ["HS256"]}), id="an algorithm that is a list"),
        pytest.param(unsigned({"alg": {}}), id="an algorithm that is an object"),
        pytest.param(unsigned({"alg": "HS256", "crit": ["x"], "x": 1}), id="critical extensions"),
        pytest.param(unsigned({"alg": "HS256", "b64": False}), id="a detached payload"),
        pytest.param(unsigned({"alg": "HS256", "kid": 1}), id="a key id that is a number"),
        pytest.param(unsigned([]), id="a header that is a list"),
        pytest.param(unsigned(None), id="a header that is nothing"),
        pytest.param(unsigned(b"\xff\xfe"), id="a header that is no text"),
        pytest.param(unsigned(b'{"alg":' + b"[" * 8_000), id="a header as deep as it may be long"),
        pytest.param(unsigned(b'{"alg": 1' + b"0" * 5_000 + b"}"), id="a number of 5,000 digits"),
        pytest.param(signed("system"), id="the server's name"),
        pytest.param(signed("SYSTEM"), id="the server's name in capitals"),
        pytest.param(signed("local"), id="the local principal's name"),
        pytest.param(signed("nobody"), id="nobody"),
        pytest.param(signed("policy"), id="policy"),
        pytest.param(signed("os:root"), id="the command line's name"),
        pytest.param(signed("langgraph-studio-user"), id="Studio's name"),
        pytest.param(signed(""), id="an empty name"),
        pytest.param(signed(" "), id="a blank name"),
        pytest.param(signed(" olga"), id="a blank before"),
        pytest.param(signed("olga\n"), id="a line break"),
        pytest.param(signed("ol\u200bga"), id="a zero-width space"),
        pytest.param(signed("olga\u202e"), id="turned around"),
        pytest.param(signed("ol\u2028ga"), id="a line separator"),
        pytest.param(signed("olga\u3164"), id="a filler that shows as nothing"),
        pytest.param(signed("ol\u00a0ga"), id="a space that is not one"),
        pytest.param(signed("o" * 201), id="a name too long"),
    ],
)  # fmt: skip
async def test_what_does_not_count_is_refused(token: str) -> None:
    with pytest.raises(NotSignedInError):
        await development().read(token)


@given(st.text(max_size=60) | st.from_regex(r"[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}"))
def test_whatever_is_sent_is_refused_and_never_an_error(token: str) -> None:
    with pytest.raises(NotSignedInError):
        asyncio.run(development().read(token))


@given(st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jku", "jwk", "x5c"]),
                       st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("HS256")
                       | st.lists(st.text(max_size=3), max_size=2)))  # fmt: skip
def test_whatever_a_header_says_the_signature_is_asked_for(header: dict[str, Any]) -> None:
    with pytest.raises(NotSignedInError):
        asyncio.run(development().read(unsigned(header, make_claims(iss=DEVELOPMENT, exp=2**40), "c2ln")))


async def test_the_token_has_no_say_in_the_algorithm() -> None:
    secret = SECRET + OTHER
    reader = TokenReader(settings(), secret)

    assert (await reader.read(signed(secret=secret))).name == "olga"
    for algorithm in ("HS384", "HS512"):
        with pytest.raises(NotSignedInError):
            await reader.read(signed(secret=secret, algorithm=algorithm))


async def test_an_issuer_or_audience_of_another_shape_is_refused() -> None:
    claims = make_claims(iss=DEVELOPMENT, exp=2**40)
    assert (await development().read(keyed({"alg": "HS256"}, claims, SECRET))).name == "olga"

    wrongs: list[dict[str, Any]] = [
        {"iss": [DEVELOPMENT]},
        {"iss": {}},
        {"aud": {}},
        {"aud": [1]},
        {"exp": "x"},
        {"exp": [1]},
        {"sub": {}},
    ]
    for wrong in wrongs:
        with pytest.raises(NotSignedInError):
            await development().read(keyed({"alg": "HS256"}, {**claims, **wrong}, SECRET))


async def test_clocks_may_differ_by_half_a_minute() -> None:
    token = signed(exp=datetime.now(UTC) - timedelta(seconds=20))

    assert (await development().read(token)).name == "olga"


@pytest.mark.parametrize("end", [10**400, 1e308, 2**63])
async def test_an_end_that_no_clock_reaches_is_the_last_one_that_a_clock_has(end: float) -> None:
    """What went wrong: such a token passed, and whatever compared its end with the time broke off."""
    known = await development().read(signed(exp=end))

    assert datetime.fromtimestamp(known.until, UTC).year == 9999
    assert known.until - time.time() > 0


async def test_another_audience_may_be_set() -> None:
    reader = development(auth_audience="bank")

    assert (await reader.read(signed(aud=["x", "bank"]))).name == "olga"
    with pytest.raises(NotSignedInError):
        await reader.read(signed(aud="clearance"))


@pytest.mark.parametrize(
    ("claim", "claims", "roles"),
    [
        ("roles", {"roles": ["a", "b"]}, ("a", "b")),
        ("roles", {"roles": "a b"}, ("a", "b")),
        ("roles", {"roles": None}, ()),
        ("roles", {"roles": 7}, ()),
        ("roles", {"roles": {"a": True}}, ()),
        ("roles", {"roles": ["a", 7, None, ["b"]]}, ("a",)),
        ("realm_access.roles", {"roles": None, "realm_access": {"roles": ["a"]}}, ("a",)),
        ("realm_access.roles", {"roles": ["x"], "realm_access": "roles"}, ()),
        ("https://example.com/roles", {"roles": ["x"], "https://example.com/roles": ["a"]}, ("a",)),
        ("groups", {"roles": ["x"]}, ()),
    ],
)
async def test_roles_are_read_from_the_claim_that_is_set(
    claim: str, claims: dict[str, Any], roles: tuple[str, ...]
) -> None:
    assert (await development(auth_roles_claim=claim).read(signed(**claims))).roles == roles


@pytest.mark.parametrize("name", ["system", "Local", "os:root", "", "a\u200bb", "x" * 201, "ol\u2028ga"])
def test_no_token_is_made_for_a_name_that_would_not_count(name: str) -> None:
    with pytest.raises(NotSignedInError):
        make_token(settings(), SECRET, name, [], timedelta(hours=1))


# An identity provider


async def test_both_algorithms_of_a_provider_count(provider: Provider) -> None:
    reader = reader_of(provider)

    names = [(await reader.read(provider.sign(kid, kid))).name for kid in ("one", "two")]

    assert names == ["one", "two"]
    assert provider.asked == 1


async def test_a_secret_does_not_count_beside_a_provider(provider: Provider) -> None:
    reader = TokenReader(settings(auth_jwks_url=provider.url, auth_issuer=ISSUER), SECRET)
    public = json.dumps(provider.public("one")).encode()
    forged = [
        jwt.encode(make_claims(), SECRET, algorithm="HS256"),
        jwt.encode(make_claims(), SECRET, algorithm="HS256", headers={"kid": "one"}),
        keyed({"alg": "HS256", "kid": "one"}, make_claims(exp=2**40), public),
        keyed({"alg": "HS256", "kid": "one"}, make_claims(exp=2**40), b""),
        unsigned({"alg": "none", "kid": "one"}, {"sub": "olga"}),
        unsigned({"alg": "RS256", "kid": "one"}, {"sub": "olga"}),
        # Names the key and the algorithm of another.
        provider.sign("two", header={"kid": "one"}),
        provider.sign("one", header={"kid": "two"}),
    ]

    for token in forged:
        with pytest.raises(NotSignedInError):
            await reader.read(token)


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example.com/"},
        {"iss": None},
        {"aud": "other"},
        {"aud": None},
        {"exp": None},
        {"exp": 1},
        {"subject": "system"},
        {"subject": None},
    ],
)
async def test_the_claims_of_a_provider_are_checked(provider: Provider, claims: dict[str, Any]) -> None:
    with pytest.raises(NotSignedInError):
        await reader_of(provider).read(provider.sign("one", **claims))


async def test_a_key_that_a_token_brings_along_is_not_looked_at(provider: Provider) -> None:
    with running_provider() as evil:
        evil.add_key("evil")
        headers: list[dict[str, Any]] = [{"jku": evil.url}, {"jwk": evil.public("evil")}, {"x5u": evil.url}]

        for header in headers:
            for kid in ("evil", "one"):
                with pytest.raises(NotSignedInError):
                    await reader_of(provider).read(evil.sign("evil", header={**header, "kid": kid}))

        assert evil.asked == 0


async def test_a_new_key_of_the_provider_is_found_and_an_old_one_ends(provider: Provider, clock: Clock) -> None:
    reader = reader_of(provider)
    old = provider.sign("one")
    await reader.read(old)
    provider.remove_key("one")
    provider.add_key("three")

    clock.ahead = 11
    new = (await reader.read(provider.sign("three", "ana"))).name
    with pytest.raises(NotSignedInError):
        await reader.read(old)

    assert new == "ana"
    assert provider.asked == 2


async def test_unknown_key_ids_ask_the_provider_once_in_ten_seconds(provider: Provider, clock: Clock) -> None:
    reader = reader_of(provider)
    good = provider.sign("one")
    await reader.read(good)
    clock.ahead = 11

    for number in range(50):
        with pytest.raises(NotSignedInError):
            await reader.read(unsigned({"alg": "RS256", "kid": f"made-up-{number}"}))
    asked = provider.asked
    clock.ahead = 22
    with pytest.raises(NotSignedInError):
        await reader.read(unsigned({"alg": "RS256", "kid": "made-up"}))

    assert (asked, provider.asked) == (2, 3)
    assert (await reader.read(good)).name == "olga"


@pytest.mark.parametrize("mood", ["error", "garbage", "list", "empty"])
async def test_known_keys_count_for_an_hour_when_the_provider_gives_none(
    provider: Provider, clock: Clock, mood: Any
) -> None:
    reader = reader_of(provider)
    token = provider.sign("one", exp=datetime.now(UTC) + timedelta(days=1))
    await reader.read(token)
    provider.mood = mood

    clock.ahead = 301
    later = (await reader.read(token)).name
    clock.ahead = 3_590
    still = (await reader.read(token)).name
    clock.ahead = 3_620
    with pytest.raises(NotSignedInError):
        await reader.read(token)
    provider.mood = "well"
    clock.ahead = 3_640

    assert (later, still) == ("olga", "olga")
    assert (await reader.read(token)).name == "olga"


@pytest.mark.parametrize("mood", ["error", "garbage", "list", "empty"])
async def test_nobody_is_signed_in_while_the_provider_never_answered(provider: Provider, mood: Any) -> None:
    provider.mood = mood

    with pytest.raises(NotSignedInError):
        await reader_of(provider).read(provider.sign("one"))


async def test_who_is_known_is_not_held_up_by_made_up_keys_and_a_slow_provider(
    provider: Provider, clock: Clock
) -> None:
    reader = reader_of(provider)
    good = provider.sign("one")
    await reader.read(good)
    clock.ahead = 11
    provider.mood = "slow"

    flood = [
        asyncio.create_task(reader.read(unsigned({"alg": "RS256", "kid": f"made-up-{number}"}))) for number in range(40)
    ]
    await asyncio.sleep(0.2)
    name = (await reader.read(good)).name
    # Others of this process run in the same threads.
    await asyncio.to_thread(time.monotonic)
    wait_still = [task for task in flood if not task.done()]
    refused = await asyncio.gather(*flood, return_exceptions=True)

    assert name == "olga"
    assert wait_still == flood
    assert all(isinstance(one, NotSignedInError) for one in refused)
    assert provider.asked == 2
