"""Who somebody is: JSON Web Tokens, signed by an identity provider or, for development, by this deployment."""

import asyncio
import time
import unicodedata
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from clearance.principal import is_reserved
from clearance.settings import Settings
from clearance.text.rendering import visible

if TYPE_CHECKING:
    from jwt import PyJWK

#: What development tokens name as their issuer.
DEVELOPMENT = "clearance-development"
_LONGEST_TOKEN, _LONGEST_NAME, _MOST_ROLES = 16_000, 200, 100
_LEEWAY_S = 30
#: The last second that a datetime has: an end may be any number, and is compared with clocks.
_LATEST = 253_402_300_799
NOT_NFC = "The name in this token is not in Unicode's form NFC. Have your identity provider send it in that form."
#: Keys are asked for again after this, and kept when nobody answers until they are too old to trust.
_FRESH_S, _TOO_OLD_S, _BETWEEN_S = 300, 3_600, 10


class NotSignedInError(Exception):
    """No token, or none that counts. Why is for our log: who sends one is told nothing that helps to forge another.

    `told` is what may be said all the same: of a token whose signature holds.
    """

    def __init__(self, why: str, told: str = "") -> None:
        super().__init__(why)
        self.told = told


@dataclass(frozen=True)
class SignedIn:
    """Whom a token names."""

    name: str
    roles: tuple[str, ...]
    #: When its token stops to count, seconds since 1970.
    until: float = field(compare=False, default=float("inf"))


class TokenReader:
    """Reads tokens; keys are cached, so that a request costs one signature check.

    Made in a thread: PyJWT and its cryptography are loaded here, and not at all where nobody signs in.
    """

    def __init__(self, settings: Settings, secret: bytes | None) -> None:
        if settings.auth == "on":
            import jwt  # noqa: F401  so that no request waits for it on the loop
        self._audience = settings.auth_audience
        self._roles_claim = settings.auth_roles_claim
        self._issuer = settings.auth_issuer if settings.auth_jwks_url else DEVELOPMENT
        self._keys = _ProviderKeys(settings.auth_jwks_url) if settings.auth_jwks_url else None
        self._secret = secret

    async def read(self, token: str) -> SignedIn:
        """Give whom a token names.

        Raises:
            NotSignedInError: malformed, unsigned, expired, signed by somebody else, for another audience, or nameless.
        """
        import jwt

        if not token or len(token) > _LONGEST_TOKEN or not token.isascii():
            raise NotSignedInError("no token, or none that can be one")
        try:
            header = jwt.get_unverified_header(token)
            key, algorithm = await self._key(header)
            claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=self._audience,
                issuer=self._issuer,
                leeway=_LEEWAY_S,
                options={"require": ["exp", "sub", "aud", "iss"], "strict_aud": False},
            )
        except jwt.PyJWTError as exc:
            raise NotSignedInError(str(exc)) from exc
        until = min(int(claims["exp"]) + _LEEWAY_S, _LATEST)
        return SignedIn(_name(claims["sub"]), _roles(claims, self._roles_claim), until)

    async def _key(self, header: dict[str, Any]) -> tuple[Any, str]:
        if self._keys is None:
            # The one algorithm of a shared secret; the token has no say in it.
            return self._secret, "HS256"
        kid, algorithm = header.get("kid"), header.get("alg")
        if algorithm not in ("RS256", "ES256"):
            raise NotSignedInError("signed by an algorithm that is not taken here")
        key = await self._keys.find(str(kid) if kid is not None else None)
        if key is None or key.algorithm_name != algorithm:
            raise NotSignedInError("signed with a key that the provider does not have")
        return key.key, str(algorithm)


class _ProviderKeys:
    """The keys of an identity provider, by id. Asked for again when they are old, or a token names an unknown one."""

    def __init__(self, url: str) -> None:
        from jwt import PyJWKClient

        self._client = PyJWKClient(url, cache_keys=False, cache_jwk_set=False, timeout=5)
        self._asking = asyncio.Lock()
        self._keys: dict[str, PyJWK] = {}
        self._asked = self._answered = float("-inf")

    async def find(self, kid: str | None) -> "PyJWK | None":
        now = time.monotonic()
        if now - self._answered < _FRESH_S and (found := self._known(kid)):
            return found
        # Waited for here and not in a thread: a flood of made-up key ids must not use up the threads of this process.
        async with self._asking:
            await self._ask()
        return self._known(kid) if time.monotonic() - self._answered < _TOO_OLD_S else None

    def _known(self, kid: str | None) -> "PyJWK | None":
        if kid is None:
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        return self._keys.get(kid)

    async def _ask(self) -> None:
        # Made-up key ids must not make us ask the provider for each.
        if time.monotonic() - self._asked < _BETWEEN_S:
            return
        import jwt

        self._asked = time.monotonic()
        try:
            keys = await asyncio.to_thread(self._client.get_signing_keys)
        except (jwt.PyJWTError, ValueError, OSError):  # ValueError: an answer that is no JSON
            return
        self._keys = {key.key_id or "": key for key in keys}
        self._answered = time.monotonic()


def make_token(settings: Settings, secret: bytes, name: str, roles: list[str], lifetime: timedelta) -> str:
    """Sign a development token.

    Raises:
        NotSignedInError: no person can have this name.
    """
    import jwt

    claims: dict[str, Any] = {
        "sub": _name(name),
        "iss": DEVELOPMENT,
        "aud": settings.auth_audience,
        "exp": datetime.now(UTC) + lifetime,
        settings.auth_roles_claim: roles,
    }
    return jwt.encode(claims, secret, algorithm="HS256")


def _name(subject: Any) -> str:
    if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST_NAME:
        _refuse("a name that is missing or too long")
    if not unicodedata.is_normalized("NFC", subject):
        # Two people who look like one; to merge them would give one the other's threads.
        raise NotSignedInError("a name that is not in Unicode's form NFC", NOT_NFC)
    if subject != subject.strip() or visible(subject) != subject:
        _refuse("a name with characters that cannot be seen")
    if is_reserved(subject):
        _refuse("a name that stands for no person")
    return subject


def _roles(claims: dict[str, Any], claim: str) -> tuple[str, ...]:
    found: Any = claims.get(claim)
    if found is None:  # Keycloak and others keep them deeper: realm_access.roles
        found = claims
        for part in claim.split("."):
            found = found.get(part) if isinstance(found, dict) else None
    roles = found.split() if isinstance(found, str) else found
    if not isinstance(roles, list):
        return ()
    return tuple(role for role in roles[:_MOST_ROLES] if isinstance(role, str))


def _refuse(why: str) -> NoReturn:
    raise NotSignedInError(why)
