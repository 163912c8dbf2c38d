"""TLS towards endpoints: verified unless the configuration says otherwise, sessions resumed."""

from __future__ import annotations

import ssl
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from l4proxy.filter import TlsInfo
from l4proxy.tls.failures import HandshakeFailed, explain
from l4proxy.tls.handshake import Handshake, OnFailed, OnReady, Side
from l4proxy.tls.loading import load_authorities, load_key_pair, new_context, read_chain, trust_system
from l4proxy.tls.names import SanRules, peer_names
from l4proxy.tls.stats import TlsStats, unregistered

if TYPE_CHECKING:
    import socket

    from l4proxy.config.schema import ClientTls
    from l4proxy.poller import Poller
    from l4proxy.timers import Timers
    from l4proxy.tls.certificate import Certificate

__all__ = ["ClientTlsContext"]

MAX_SESSIONS = 1000
"""Sessions kept to be resumed, one per server name and address; beyond, the oldest is forgotten."""

SessionKey = tuple[str, object]


class _ClientSocket(ssl.SSLSocket):
    """Remembers for whom its session is good."""

    session_key: SessionKey


class ClientTlsContext(Side):
    """Made from the files when a configuration is loaded, and anew at each reload. Raises ValueError that begins with
    the option at fault.

    A session is kept when its first connection closes: by then the server has sent its tickets. It spares the
    connections that follow most of a handshake's cost, and the endpoint even more.
    """

    opens = True

    def __init__(self, config: ClientTls, stats: TlsStats | None = None) -> None:
        self.config = config
        self.timeout = config.handshake_timeout
        self.stats = stats or unregistered()
        self._sans = SanRules(config.sans, "sans")
        self._certificates: list[Certificate] = []
        self._sessions: dict[SessionKey, ssl.SSLSession] = {}
        context = self._context = new_context(ssl.PROTOCOL_TLS_CLIENT, config.min_version, config.alpn)
        context.sslsocket_class = _ClientSocket
        context.check_hostname = config.verify and not self._sans
        context.verify_mode = ssl.CERT_REQUIRED if config.verify else ssl.CERT_NONE
        if config.ca:
            load_authorities(context, config.ca, "ca")
        elif config.verify:
            trust_system(context)
        if config.cert and config.key:
            own = read_chain(config.cert)
            load_key_pair(context, own, config.key, config.password)
            self._certificates.append(own)
        if config.server_name and not _is_host_name(config.server_name):
            raise ValueError(f"server_name: {config.server_name!r} is no host name")

    def certificates(self) -> list[Certificate]:
        """What is presented to endpoints that ask for it."""
        return self._certificates

    def connect(
        self,
        sock: socket.socket,
        hostname: str,
        poller: Poller,
        timers: Timers,
        on_ready: OnReady,
        on_failed: OnFailed,
        high: int = 64 * 1024,
    ) -> Handshake:
        """Begin the handshake on a connected, nonblocking socket. ``hostname`` is the endpoint's, empty where only its
        address is known: then its certificate must be for that address."""
        return Handshake(self, sock, hostname, poller, timers, on_ready, on_failed, high)

    def wrap(self, sock: socket.socket, hostname: str) -> ssl.SSLSocket:
        peer = sock.getpeername()
        name = self._name_of(hostname or _address(peer))
        key = (name, peer)
        tls = self._context.wrap_socket(
            sock,
            do_handshake_on_connect=False,
            suppress_ragged_eofs=False,
            server_hostname=name or None,
            session=self._sessions.get(key),
        )
        assert isinstance(tls, _ClientSocket)
        tls.session_key = key
        return tls

    def _name_of(self, hostname: str) -> str:
        """The server's name, which its certificate has to be for."""
        name = (self.config.server_name or hostname).rstrip(".")
        if self._context.check_hostname and not name:
            raise HandshakeFailed(
                "tls_no_server_name", "the endpoint has no host name to check its certificate against: set server_name"
            )
        if name and not _is_host_name(name):
            raise HandshakeFailed("tls_bad_server_name", f"{name!r} is no host name")
        return name

    def asyncio_options(self, hostname: str) -> dict[str, Any]:
        """For ``asyncio.open_connection``, where a task talks to an endpoint. ``approve`` has to be asked behind it.
        ``hostname`` as in ``connect``, or the address."""
        return {"ssl": self._context, "server_hostname": self._name_of(hostname), "ssl_handshake_timeout": self.timeout}

    def approve(self, sock: ssl.SSLSocket | ssl.SSLObject) -> TlsInfo:
        if self._sans:
            names = peer_names(sock.getpeercert() or {})
            if not self._sans.allow(names):
                shown = ", ".join(f"{kind}:{text}" for kind, text in names) or "none"
                raise HandshakeFailed("tls_san_mismatch", f"the certificate has none of the names asked for: {shown}")
        cipher = sock.cipher()
        return TlsInfo(
            sock.server_hostname or "",
            sock.selected_alpn_protocol() or "",
            sock.version() or "",
            cipher[0] if cipher else "",
        )

    def explain(self, sock: ssl.SSLSocket, error: ssl.SSLError) -> tuple[str, str]:
        return explain(error, "tls_")

    def ended(self, sock: ssl.SSLSocket) -> None:
        assert isinstance(sock, _ClientSocket)
        if sock.session_reused:
            return
        session = sock.session
        if session is not None and session.has_ticket:
            self._sessions.pop(sock.session_key, None)
            if len(self._sessions) >= MAX_SESSIONS:
                del self._sessions[next(iter(self._sessions))]
            self._sessions[sock.session_key] = session


def _is_host_name(name: str) -> bool:
    """Whether it can be asked for: otherwise ``wrap_socket`` raises, and leaves the socket open."""
    try:
        return bool(name.encode("idna")) and not name.startswith(".")
    except UnicodeError:
        return False


def _address(peer: object) -> str:
    """The IP address of what ``getpeername`` returned; empty for a unix socket."""
    return str(ip_address(peer[0].partition("%")[0])) if isinstance(peer, tuple) else ""
