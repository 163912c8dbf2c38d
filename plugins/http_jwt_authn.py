"""``jwt_authn``: JSON Web Tokens say who the client is."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from l4proxy.config.types import Duration, FilePath, Secret
from l4proxy.hookspecs import Register, hookimpl
from l4proxy.plugins.http.conditions import cookie, query_parameter
from l4proxy.plugins.http.message import HttpFilter, HttpRequest, HttpResponse
from l4proxy.plugins.jwt import Keys, TokenError, check_times, claim, read_jwks
from l4proxy.plugins.jwt_algorithms import JWT_ALGORITHMS
from l4proxy.protocols.http_fields import check_field
from l4proxy.stats import Stats, counter, labelled_counter

if TYPE_CHECKING:
    from l4proxy.server import Server

__all__ = ["JwtAuthn", "JwtAuthnConfig"]


@dataclass(frozen=True, slots=True)
class JwtAuthnConfig:
    secret: Secret | None = None
    """The secret that tokens are signed with (HS256, HS384, HS512): at least as many bytes as the hash has."""
    jwks: FilePath | None = None
    """Or a file with a JSON Web Key Set, secrets or RSA public keys; read again when it has changed."""
    algorithms: tuple[str, ...] = ()
    """Only these are accepted. Empty: `HS256` with `secret`, and what the keys are for with `jwks`. `ES256` and others
    need a plugin."""

    issuer: str = ""
    """Who must have issued the token (`iss`); empty: anybody who has the key."""
    audiences: tuple[str, ...] = ()
    """For whom the token must be (`aud`), one of these; empty: for anybody."""
    require: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    """Claims that the token must have, with one of these values: `{ scope = "orders:write", "realm.roles" = ["admin",
    "ops"] }`. Of a list, or of a `scope`, one has to be it. Else the answer is 403."""
    clock_skew: Duration = Duration(60.0)
    """How far the clocks of issuers and this one may be apart."""
    needs_expiration: bool = True
    """Refuse tokens that never expire (without `exp`)."""
    required: bool = True
    """Refuse requests without a token. One that is there has to be right in any case."""

    header: str = "authorization"
    """The field that has the token; empty: none."""
    prefix: str = "Bearer"
    """The word in front of it there; empty: none."""
    cookie: str = ""
    """Or a cookie that has it."""
    query: str = ""
    """Or a query parameter that has it. Such tokens stand in logs of all that is in front of this proxy."""
    forward: bool = False
    """Let the upstream have the token."""
    claims: Mapping[str, str] = field(default_factory=dict)
    """Fields that tell the upstream of claims: `{ x-user = "sub", x-roles = "realm.roles" }`. What the client says
    under these names is dropped. Lists are joined by commas."""
    payload_header: str = ""
    """A field that tells the upstream all claims, as JSON in base64url; empty: none."""
    realm: str = "restricted"
    """What `WWW-Authenticate` says."""
    name: str = "jwt_authn"
    """Tells the statistics of several uses apart."""

    def __post_init__(self) -> None:
        if (self.secret is None) == (self.jwks is None):
            raise ValueError("secret: write secret, or jwks")
        if not (self.header or self.cookie or self.query):
            raise ValueError("header: write header, or cookie, or query: where is the token?")
        if '"' in self.realm or not self.realm.isprintable():
            raise ValueError("realm: has characters that cannot stand in a header field")
        for at, name in enumerate(self.algorithms):
            try:
                JWT_ALGORITHMS.find(name)
            except ValueError as error:
                raise ValueError(f"algorithms[{at}]: {error}") from None
        for key, names in (("claims", self.claims), ("payload_header", [self.payload_header or "x"])):
            for name in names:
                try:
                    check_field(name, "")
                except ValueError as error:
                    raise ValueError(f"{key}: {error}") from None
        if self.secret is not None:
            _keys(self)


def _keys(config: JwtAuthnConfig) -> Keys:
    """Raises ValueError."""
    if config.secret is None:
        assert config.jwks is not None
        try:
            return Keys(read_jwks(config.jwks), config.algorithms, config.jwks)
        except ValueError as error:
            raise ValueError(f"jwks: {error}") from None
    key = base64.urlsafe_b64encode(config.secret.reveal().encode()).decode().rstrip("=")
    try:
        return Keys([{"kty": "oct", "k": key}], config.algorithms or ("HS256",))
    except ValueError as error:
        raise ValueError(f"secret: {str(error).removeprefix('key 0: ')}") from None


class JwtAuthnStats(Stats, subsystem="http_jwt_authn", labels=("name",)):
    """Requests that had to show a token."""

    allowed_total = counter("Requests with a right one.")
    missing_allowed_total = counter("Requests without one that passed (required = false).")
    denied_total = labelled_counter("Requests refused, by what was wrong.", label="reason")


class _Shared:
    def __init__(self, config: JwtAuthnConfig, stats: JwtAuthnStats) -> None:
        """Raises ValueError."""
        self.stats = stats
        self.keys = _keys(config)
        self.header = config.header.lower()
        self.prefix = config.prefix.lower() + " " if config.prefix else ""
        self.require = {path: (want,) if isinstance(want, str) else want for path, want in config.require.items()}


class JwtAuthn(HttpFilter[JwtAuthnConfig]):
    """Let requests pass that carry a JSON Web Token with the right signature, issuer, audience and times.

        { use = "jwt_authn", secret = { env = "JWT_SECRET" }, claims = { x-user = "sub" } }

    Access logs have the claims: `%FILTER_STATE(jwt_authn:sub)%`, and other filters, in
    `request.state["jwt_authn:claims"]`. Put `cors` in front of it, so that browsers may ask first, and write `without =
    ["jwt_authn"]` at routes that are for everybody.
    """

    name = "jwt_authn"
    shared: _Shared

    @classmethod
    def provision(cls, config: JwtAuthnConfig, server: Server) -> _Shared:
        return _Shared(config, server.stats.group(JwtAuthnStats, name=config.name))

    def on_request(self, request: HttpRequest) -> HttpRequest | None:
        config, shared = self.config, self.shared
        for name in config.claims:
            if request.field(name.lower()) is not None:
                request.headers.discard(name)
        if config.payload_header:
            request.headers.discard(config.payload_header)
        token = self._token(request)
        if token is None and not config.required:
            shared.stats.missing_allowed_total += 1
            return request
        try:
            if token is None:
                raise TokenError("missing", "a token is needed")
            claims = shared.keys.claims(token)
            self._check(claims)
        except TokenError as error:
            self._deny(request, error)
            return None
        shared.stats.allowed_total += 1
        self._tell(request, claims)
        return request

    def _token(self, request: HttpRequest) -> str | None:
        """The token, wherever it is; it goes no further, unless that is wanted."""
        config, shared = self.config, self.shared
        value = request.field(shared.header) if shared.header else None
        if value is not None and value[: len(shared.prefix)].lower() == shared.prefix:
            if not config.forward:
                del request.headers[shared.header]
            return value[len(shared.prefix) :].strip()
        if config.cookie and (value := cookie(request, config.cookie)) is not None:
            if not config.forward:
                _without_cookie(request, config.cookie)
            return value
        if config.query and (value := query_parameter(request.query, config.query)) is not None:
            if not config.forward:
                _without_parameter(request, config.query)
            return value
        return None

    def _check(self, claims: Mapping[str, Any]) -> None:
        """Raises TokenError."""
        config = self.config
        check_times(claims, time.time(), config.clock_skew, needs_expiration=config.needs_expiration)
        if config.issuer and claims.get("iss") != config.issuer:
            raise TokenError("issuer", "it was issued by somebody else")
        if config.audiences:
            audience = claims.get("aud")
            given = audience if isinstance(audience, list) else [audience]
            if not any(one in given for one in config.audiences):
                raise TokenError("audience", "it is for somebody else")
        for path, wanted in self.shared.require.items():
            if not any(one in wanted for one in _texts(path, claim(claims, path))):
                raise TokenError("claims", f"{path} does not allow this")

    def _tell(self, request: HttpRequest, claims: Mapping[str, Any]) -> None:
        config, state = self.config, request.state
        state["jwt_authn:claims"] = claims
        for name, value in claims.items():
            if isinstance(value, str | int | float):
                state[f"jwt_authn:{name}"] = value
        for name, path in config.claims.items():
            value = claim(claims, path)
            if value is not None:
                request.headers[name] = _field(",".join(_texts("", value)))
        if config.payload_header:
            text = json.dumps(claims, separators=(",", ":")).encode()
            request.headers[config.payload_header] = base64.urlsafe_b64encode(text).decode().rstrip("=")

    def _deny(self, request: HttpRequest, error: TokenError) -> None:
        code = error.code
        self.shared.stats.denied_total.add(code)
        challenge = f'Bearer realm="{self.config.realm}"'
        if code != "missing":
            kind = "insufficient_scope" if code == "claims" else "invalid_token"
            challenge += f', error="{kind}", error_description="{_field(str(error)).replace(chr(34), chr(39))}"'
        status = 403 if code == "claims" else 401
        details = f"jwt_{code}"
        self.reply(request, HttpResponse(status, f"{error}\n", {"WWW-Authenticate": challenge}, details=details))


def _texts(path: str, value: Any) -> list[str]:
    """The values of a claim as text."""
    if isinstance(value, list):
        return [text for one in value for text in _texts("", one)]
    if isinstance(value, str):
        return value.split() if path in ("scope", "scp") else [value]
    return [] if value is None else [json.dumps(value, separators=(",", ":"))]


def _field(text: str) -> str:
    """Text as a field can hold it: UTF-8, each byte a character, and without control characters."""
    return re.sub(r"[\x00-\x1f\x7f]", "?", text.encode("utf-8", "replace").decode("latin-1")).strip()


def _without_cookie(request: HttpRequest, name: str) -> None:
    parts = [part.strip() for part in (request.field("cookie") or "").split(";")]
    kept = "; ".join(part for part in parts if part and part.partition("=")[0] != name)
    if kept:
        request.headers["Cookie"] = kept
    else:
        del request.headers["cookie"]


def _without_parameter(request: HttpRequest, name: str) -> None:
    path, _, query = request.target.partition("?")
    kept = "&".join(part for part in query.split("&") if query_parameter(part, name) is None)
    request.target = f"{path}?{kept}" if kept else path


@hookimpl
def register_message_filters(register: Register[Any]) -> None:
    register(JwtAuthn)
