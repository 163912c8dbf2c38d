"""What a client says of itself on its way through a relay: its software, and by SASL who it is."""

from __future__ import annotations

from l4proxy.protocols.kafka.api import API_VERSIONS
from l4proxy.protocols.kafka.apis import APIS
from l4proxy.protocols.kafka.declarations.security import SASL_AUTHENTICATE, SASL_HANDSHAKE
from l4proxy.protocols.kafka.relay_plan import RelayedCall
from l4proxy.protocols.kafka.sasl import rounds
from l4proxy.protocols.kafka.walker import Walker

__all__ = ["Introductions"]

_SOFTWARE = Walker(APIS[API_VERSIONS].request, "client_software_name client_software_version")
_MECHANISM = Walker(SASL_HANDSHAKE.request, "mechanism")
_HANDSHAKE = Walker(SASL_HANDSHAKE.response, "error_code")
_TOKEN = Walker(SASL_AUTHENTICATE.request, "auth_bytes")
_OUTCOME = Walker(SASL_AUTHENTICATE.response, "error_code")


class Introductions:
    """Sees the requests and responses of `relay_plan.FOLLOWED`. Who wants to know overrides the first four methods."""

    __slots__ = ("_rounds", "_tokens_to_come", "client_id", "mechanism")

    def __init__(self) -> None:
        self.client_id = b""
        """Of the last request that was seen."""
        self.mechanism = ""
        """Of SASL; empty before it is settled."""
        self._tokens_to_come = 0
        """Frames of the client that will be bare SASL tokens."""
        self._rounds = 0
        """Tokens that the client has sent."""

    def introduced(self, name: bytes, version: bytes) -> None:
        """The client has told its software."""

    def authenticating(self, token: bytes, first: bool) -> None:
        """The client sends a SASL token of ``mechanism``."""

    def authenticated(self, error: int, last: bool) -> None:
        """The broker has answered it. ``last``: with no error, the client is authenticated."""

    def mechanism_refused(self, mechanism: str) -> None:
        """The broker does not take it."""

    # What passes. All that is read raises `wire.UNREADABLE`.

    def see_request(self, call: RelayedCall, data: bytes, pos: int, stop: int) -> None:
        """The body of a request is ``data[pos:stop]``."""
        key, version = call.plan.key, call.plan.version
        if key == API_VERSIONS:
            name, number = _SOFTWARE.whole(version)(data, pos, stop)
            if name is not None:
                self.introduced(name, number)
        elif key == SASL_HANDSHAKE.key:
            (call.subject,) = _MECHANISM.whole(version)(data, pos, stop)
        elif key == SASL_AUTHENTICATE.key:
            (token,) = _TOKEN.whole(version)(data, pos, stop)
            self.see_token(token or b"")

    def see_response(self, call: RelayedCall, data: bytes, pos: int, stop: int) -> None:
        key, version = call.plan.key, call.plan.version
        if key == SASL_HANDSHAKE.key:
            (error,) = _HANDSHAKE.whole(version)(data, pos, stop)
            self._shook_hands((call.subject or b"").decode(errors="backslashreplace"), error, version)
        elif key == SASL_AUTHENTICATE.key:
            (error,) = _OUTCOME.whole(version)(data, pos, stop)
            self.see_answer(error)

    def _shook_hands(self, mechanism: str, error: int, version: int) -> None:
        if error:
            self.mechanism_refused(mechanism)
            return
        self.mechanism = mechanism
        self._rounds = 0
        if not version:  # the tokens follow bare
            self._tokens_to_come = rounds(mechanism)

    def see_token(self, token: bytes) -> None:
        self._rounds += 1
        self.authenticating(token, self._rounds == 1)

    def see_answer(self, error: int) -> None:
        """The broker has answered a token."""
        last = self._rounds >= rounds(self.mechanism)
        self.authenticated(error, last)
        if error or last:
            self._rounds = 0
