"""``proxy_protocol``: take a PROXY header off the beginning of each connection, and believe it.

``preambles = [{ use = "proxy_protocol", trusted = ["10.0.0.0/8"] }]``
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from l4proxy import PeekInfo, Preamble, PreambleResult, Register, hookimpl
from l4proxy.codec import RemoteProtocolError
from l4proxy.config.types import Network, Range, Size
from l4proxy.networks import NetworkSet
from l4proxy.protocols.detect import is_proxy_protocol
from l4proxy.protocols.proxy_protocol import V2_LIMIT, Endpoint, ProxyHeader, read_header

__all__ = ["ProxyProtocol", "ProxyProtocolConfig"]


@dataclass(frozen=True, slots=True)
class ProxyProtocolConfig:
    required: bool = True
    """Refuse connections that do not begin with a header. `false`: they are what they look like. The specification
    advises against that, for then every `trusted` host may claim to be another one, or not."""
    versions: tuple[Literal[1, 2], ...] = (1, 2)
    """The versions of the header that are accepted."""
    trusted: tuple[Network, ...] = ()
    """The hosts that may send a header: it is their word that everything behind this goes by. Empty: all, which is
    right only where none but proxies can connect. From other hosts a connection is refused, or with `required =
    false` taken as it is, and a header in it is not looked for. Peers on a unix socket are trusted."""
    max_header_size: Annotated[Size, Range(107, 65551)] = Size(V2_LIMIT)
    """The largest header that is accepted. It also has to fit into the listener's `peek_limit`."""

    def __post_init__(self) -> None:
        if not self.versions:
            raise ValueError("versions: name at least one version, 1 or 2")


class ProxyProtocol(Preamble[ProxyProtocolConfig]):
    """Read who the client is from a PROXY header, version 1 or 2, and take it off."""

    name = "proxy_protocol"

    def __init__(self, config: ProxyProtocolConfig) -> None:
        super().__init__(config)
        self._trusted = NetworkSet(config.trusted)

    def read(self, peek: bytes, info: PeekInfo) -> PreambleResult | None:
        config = self.config
        host = info.direct_source[0]
        if config.trusted and host and host not in self._trusted:
            if config.required:
                raise RemoteProtocolError(
                    f"{host} is not trusted to send PROXY headers", code="proxy_header_not_trusted"
                )
            return PreambleResult(0)
        if not config.required and is_proxy_protocol(peek) is False:
            return PreambleResult(0)
        header = read_header(peek, config.max_header_size)
        if header is None:
            return None
        if header.version not in config.versions:
            message = f"PROXY headers of version {header.version} are not accepted"
            raise RemoteProtocolError(message, code="proxy_header_version")
        return _result(header)


def _result(header: ProxyHeader) -> PreambleResult:
    return PreambleResult(
        header.size,
        client=_address(header.source),
        destination=_address(header.destination),
        tlvs=dict(reversed(header.tlvs)),  # of a type that comes twice the first counts
    )


def _address(endpoint: Endpoint | None) -> tuple[str, int] | None:
    """A unix socket has no host and no port."""
    return ("", 0) if isinstance(endpoint, bytes) else endpoint


@hookimpl
def register_preambles(register: Register[type[ProxyProtocol]]) -> None:
    register(ProxyProtocol)
