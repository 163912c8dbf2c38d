"""Who the client is: what a proxy tells the upstream of it, and whom it believes (RFC 7239, X-Forwarded-For).

What a client says of itself is worth nothing, so it is thrown away; what a trusted proxy says is passed on with one
more step. On most connections the fields that are added are always the same: one block for all requests.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from l4proxy.plugins.host_files import is_ip
from l4proxy.protocols.http_fields import EMPTY, Field, FieldBlock, encode_line

if TYPE_CHECKING:
    from l4proxy.networks import NetworkSet
    from l4proxy.plugins.http.message import HttpRequest

__all__ = ["Forwarding"]

CLAIMS = ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-real-ip", "forwarded")
"""What a client may not say of itself."""
_PARAMETER = re.compile(r'(?:^|[;,])[ \t]*(for|proto)[ \t]*=[ \t]*("[^"]*"|[^;, \t"]*)', re.IGNORECASE)
"""Of a ``Forwarded`` field (RFC 7239 section 4)."""
_NODE = re.compile(r"\[(?P<ipv6>[0-9A-Fa-f:.]+)\](?::[0-9]+)?|(?P<ipv4>[0-9.]+)(?::[0-9]+)?")


class Forwarding:
    """For one connection: its peer, and the fields that say so."""

    __slots__ = ("_hops", "_how", "_peer", "_scheme", "_trusted", "added", "trusts")

    def __init__(self, how: str, peer: str, scheme: str, trusted: NetworkSet, hops: int = 0) -> None:
        """``hops``: how many proxies in front are believed, whatever their addresses."""
        self._how = how
        self._peer = peer
        self._scheme = scheme
        self._trusted = trusted
        self._hops = hops
        self.trusts = hops > 0 or peer in trusted
        """The peer is believed."""
        self.added = self._fields(peer, scheme)

    def _fields(self, chain: str, scheme: str) -> FieldBlock:
        if self._how == "off":
            return EMPTY
        if self._how == "rfc7239":
            node = f'"[{self._peer}]"' if ":" in self._peer else self._peer or "unknown"
            return _block([("Forwarded", f"for={node};proto={scheme}")])
        return _block([("X-Forwarded-For", chain or "unknown"), ("X-Forwarded-Proto", scheme)])

    def tell(self, request: HttpRequest) -> None:
        """A request that says something itself."""
        if not self.trusts:
            if self._how != "off":
                self._forget_claims(request)
            return
        told = _parameters(request, "proto")
        scheme = request.field("x-forwarded-proto") or (told[-1] if told else None)
        if scheme is not None and (known := scheme.lower()) in ("http", "https"):
            request.scheme = known
        if self._how == "off":
            return
        headers = request.headers
        if self._how == "rfc7239":
            headers.append("Forwarded", self.added.fields[0][1])
            return
        if "x-forwarded-for" not in headers and (chain := _parameters(request, "for")):
            headers["X-Forwarded-For"] = ", ".join(_address(node) or "unknown" for node in chain)
        headers.append("X-Forwarded-For", self._peer or "unknown")
        if "x-forwarded-proto" not in headers:
            headers["X-Forwarded-Proto"] = scheme or self._scheme

    def _forget_claims(self, request: HttpRequest) -> None:
        headers = request.headers
        for name in CLAIMS:
            headers.discard(name)
        request.block = headers.block
        request._headers = None
        request.added = self.added

    def client_of(self, request: HttpRequest) -> str:
        """The address of the client, before ``tell``: of what trusted proxies say, the last one that is not itself
        trusted, or the one that as many of them have passed on as are trusted. What is no address ends the search:
        nobody can know what is in front of it."""
        if not self.trusts:
            return self._peer
        text = request.field("x-forwarded-for")
        chain = text.split(",") if text else _parameters(request, "for")
        if self._hops:
            return (_address(chain[-self._hops]) if len(chain) >= self._hops else "") or self._peer
        client = self._peer
        for node in reversed(chain):
            address = _address(node)
            if not address:
                break
            client = address
            if address not in self._trusted:
                break
        return client


def _parameters(request: HttpRequest, name: str) -> list[str]:
    """All values of a parameter of ``Forwarded``, the nearest one last."""
    text = request.field("forwarded")
    return [value.strip('"') for key, value in _PARAMETER.findall(text) if key.lower() == name] if text else []


def _address(node: str) -> str:
    """Of a node as these fields write it, possibly with a port; empty for a name, ``unknown`` and the like."""
    node = node.strip()
    if is_ip(node):
        return node
    found = _NODE.fullmatch(node)
    address = found["ipv6"] or found["ipv4"] if found is not None else ""
    return address if is_ip(address) else ""


def _block(pairs: list[tuple[str, str]]) -> FieldBlock:
    fields: list[Field] = [(name.lower(), value) for name, value in pairs]
    return FieldBlock(fields, tuple(encode_line(name, value) for name, value in pairs))
