"""Who the proxy is where it asks brokers itself, and they want to know."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from l4proxy.codec import RemoteProtocolError
from l4proxy.config.types import Secret
from l4proxy.protocols.kafka import plain
from l4proxy.protocols.kafka.api import Api
from l4proxy.protocols.kafka.declarations.security import SASL_AUTHENTICATE, SASL_HANDSHAKE
from l4proxy.protocols.kafka.sasl_client import Mechanism, tokens

if TYPE_CHECKING:
    from l4proxy.plugins.kafka_proxy.asking import Line

__all__ = ["KafkaLogin", "log_in"]

TIMEOUT = 10.0
HANDSHAKE_VERSION = 1
"""The first in which tokens are requests of their own."""
AUTHENTICATE_VERSION = 0


@dataclass(frozen=True, slots=True)
class KafkaLogin:
    username: str
    """A name that the brokers know."""
    password: Secret
    """Its password: `{ file = "/run/secrets/kafka" }`, `{ env = "KAFKA_PASSWORD" }`, or text."""
    mechanism: Mechanism = "SCRAM-SHA-512"
    """How to prove it. PLAIN tells brokers the password, so use it with `tls` in the cluster."""


async def log_in(line: Line, login: KafkaLogin) -> None:
    """Authenticate. Raises OSError and RemoteProtocolError; then the line is closed."""
    try:
        told = await _ask(line, SASL_HANDSHAKE, HANDSHAKE_VERSION, {"mechanism": login.mechanism})
        if told["error_code"]:
            offered = ", ".join(told["mechanisms"]) or "none"
            raise RemoteProtocolError(f"it takes no {login.mechanism}, but {offered}", code="login_refused")
        own = tokens(login.mechanism, login.username, login.password.reveal(), secrets.token_urlsafe(18))
        token = next(own)
        while True:
            told = await _ask(line, SASL_AUTHENTICATE, AUTHENTICATE_VERSION, {"auth_bytes": token})
            if told["error_code"]:
                text = told["error_message"] or f"error {told['error_code']}"
                raise RemoteProtocolError(f"it does not take {login.username!r}: {text}", code="login_refused")
            token = own.send(told["auth_bytes"])
    except StopIteration:
        return
    except RemoteProtocolError:
        line.close()
        raise


async def _ask(line: Line, api: Api, version: int, values: dict[str, Any]) -> dict[str, Any]:
    answer = await line.ask(plain.request(api, version, values), TIMEOUT)
    return plain.decode(api.response, version, answer, 4)
