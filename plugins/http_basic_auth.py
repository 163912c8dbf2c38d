"""``basic_auth``: user names and passwords (RFC 7617)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from l4proxy.config.types import FilePath, Secret
from l4proxy.errors import cannot_read
from l4proxy.hookspecs import Register, hookimpl
from l4proxy.plugins.http.message import HttpFilter, HttpRequest, HttpResponse
from l4proxy.protocols.bounded import remember
from l4proxy.stats import Stats, counter

if TYPE_CHECKING:
    from l4proxy.server import Server

__all__ = ["BasicAuth", "BasicAuthConfig", "Passwords"]

SITE = 401, "WWW-Authenticate", "authorization"
PROXY = 407, "Proxy-Authenticate", "proxy-authorization"
"""RFC 9110 sections 11.6 and 11.7."""
KNOWN = 1024
"""Right credentials that are remembered, by their hash, so that a slow password hash is computed once."""


@dataclass(frozen=True, slots=True)
class BasicAuthConfig:
    users: Mapping[str, Secret] = field(default_factory=dict)
    """Passwords by user name, as they are, or hashed: `{SHA}...` as `htpasswd -s` writes them, or
    `pbkdf2_sha256$ROUNDS$SALT$HASH` (Base64)."""
    file: FilePath | None = None
    """Or a file with a line `name:hash` for each user, as `htpasswd -s` makes it."""
    realm: str = "restricted"
    """What a browser shows when it asks."""
    forward_user: str = "x-user"
    """A field that tells the upstream who it is; empty: none."""
    proxy: bool = False
    """Ask as a forward proxy does, which leaves the password of the site to the site: `Proxy-Authorization`, 407."""

    def __post_init__(self) -> None:
        if bool(self.users) == bool(self.file):
            raise ValueError("users: write users, or file")
        if '"' in self.realm or not self.realm.isprintable():
            raise ValueError("realm: has characters that cannot stand in a header field")


class BasicAuthStats(Stats, subsystem="http_basic_auth"):
    """Requests that had to show a password."""

    allowed_total = counter("Requests with the right one.")
    denied_total = counter("Requests without, or with a wrong one.")


class Passwords:
    """Whose password is right?"""

    def __init__(self, users: Mapping[str, str], stats: BasicAuthStats) -> None:
        """Raises ValueError for a hash of a kind that is not known."""
        self.stats = stats
        self._users = dict(users)
        self._known: dict[bytes, str] = {}
        self._salt = hashlib.sha256(repr(id(self)).encode()).digest()
        for user, hashed in users.items():
            if hashed.startswith(("$2", "$apr1$", "$5$", "$6$")):
                raise ValueError(f"users: how the password of {user!r} is hashed is not known here (htpasswd -s is)")

    def user(self, header: str) -> str | None:
        """The user whose credentials these are; None: nobody's."""
        scheme, _, encoded = header.partition(" ")
        if scheme.lower() != "basic":
            return None
        key = hashlib.sha256(self._salt + encoded.encode("latin-1")).digest()
        if key in self._known:
            return self._known[key]
        try:
            name, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return None
        stored = self._users.get(name, "{SHA}")  # of nobody: as much work as of somebody
        if not colon or not _is_right(stored, password) or name not in self._users:
            return None
        remember(self._known, key, name, KNOWN)
        return name


def _is_right(stored: str, password: str) -> bool:
    given = password.encode()
    if stored.startswith("{SHA}"):
        digest = base64.b64encode(hashlib.sha1(given).digest()).decode()
        return hmac.compare_digest(stored[5:], digest)
    if stored.startswith("pbkdf2_sha256$"):
        try:
            _, rounds, salt, expected = stored.split("$")
            made = hashlib.pbkdf2_hmac("sha256", given, base64.b64decode(salt), int(rounds))
            return hmac.compare_digest(base64.b64decode(expected), made)
        except ValueError:
            return False
    return hmac.compare_digest(stored.encode(), given)


class BasicAuth(HttpFilter[BasicAuthConfig]):
    """Ask for a user name and password, and let nobody else pass.

        { use = "basic_auth", users = { ann = { env = "ANNS_PASSWORD" } } }

    Passwords travel as they are: use it behind TLS.
    """

    name = "basic_auth"
    shared: Passwords

    @classmethod
    def provision(cls, config: BasicAuthConfig, server: Server) -> Passwords:
        users = {name: secret.reveal() for name, secret in config.users.items()}
        if config.file:
            users = _read(config.file)
        return Passwords(users, server.stats.group(BasicAuthStats))

    def on_request(self, request: HttpRequest) -> HttpRequest | None:
        config, headers = self.config, request.headers
        if config.forward_user:
            headers.discard(config.forward_user)
        status, challenge, credentials = PROXY if config.proxy else SITE
        user = self.shared.user(request.field(credentials) or "")
        if user is None:
            self.shared.stats.denied_total += 1
            fields = {challenge: f'Basic realm="{config.realm}", charset="UTF-8"'}
            text = "a user name and password are needed\n"
            self.reply(request, HttpResponse(status, text, fields, details="basic_auth"))
            return None
        self.shared.stats.allowed_total += 1
        if config.forward_user:
            headers[config.forward_user] = user
            del headers[credentials]
        return request


def _read(path: str) -> dict[str, str]:
    users = {}
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                name, colon, hashed = line.strip().partition(":")
                if line.strip() and not line.startswith("#"):
                    if not colon or not name:
                        raise ValueError(f"file: {path}:{number}: not name:hash")
                    users[name] = hashed
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"file: {cannot_read(path, error)}") from None
    return users


@hookimpl
def register_message_filters(register: Register[Any]) -> None:
    register(BasicAuth)
