"""TLS towards clients: the certificates of a filter chain, chosen by server name."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from l4proxy.filter import TlsInfo
from l4proxy.tls.failures import HandshakeFailed, explain
from l4proxy.tls.handshake import Handshake, OnFailed, OnReady, Side
from l4proxy.tls.loading import load_authorities, load_key_pair, new_context, read_chain
from l4proxy.tls.names import SanRules, peer_names, peer_subject
from l4proxy.tls.stats import TlsStats, unregistered

if TYPE_CHECKING:
    import socket

    from l4proxy.config.schema import Certificate as CertificateConfig
    from l4proxy.config.schema import ServerTls
    from l4proxy.poller import Poller
    from l4proxy.timers import Timers
    from l4proxy.tls.certificate import Certificate

__all__ = ["ServerTlsContext"]

_VERIFY_MODES = {"off": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


class _ServerSocket(ssl.SSLSocket):
    """Remembers what the client asked for."""

    server_name = ""
    refused = False


class ServerTlsContext(Side):
    """Made from the files when a configuration is loaded, and anew at each reload: handshakes use the newest,
    connections keep theirs. Raises ValueError that begins with the option at fault.

    One SSLContext per set of names. Two certificates for the same names with keys of different kinds (RSA and ECDSA)
    share one, and OpenSSL presents the one that the client can verify.
    """

    opens = False

    def __init__(self, config: ServerTls, stats: TlsStats | None = None) -> None:
        self.config = config
        self.timeout = config.handshake_timeout
        self.stats = stats or unregistered()
        self._sans = SanRules(config.client_sans, "client_sans")
        self._certificates: list[Certificate] = []
        self._by_name: dict[str, ssl.SSLContext] = {}
        self._key_kinds: dict[ssl.SSLContext, set[str]] = {}
        contexts: dict[frozenset[str], ssl.SSLContext] = {}
        offset = len(config.all_certificates) - len(config.certificates)
        for at, one in enumerate(config.all_certificates):
            self._add(one, f"certificates[{at - offset}]." if at >= offset else "", contexts)
        self._first = next(iter(contexts.values()))
        self._first.sni_callback = self._choose
        self._first.sslsocket_class = _ServerSocket

    def _add(self, config: CertificateConfig, where: str, contexts: dict[frozenset[str], ssl.SSLContext]) -> None:
        own = read_chain(config.cert, where)
        names = [_server_name(name) for name in config.server_names or own.server_names]
        if wrong := next((name for name in config.server_names if "*" in name.removeprefix("*.")), None):
            raise ValueError(f"{where}server_names: {wrong!r}: * can only stand for the first label (*.example.com)")
        if not names and contexts:
            raise ValueError(f"{where}server_names: no name is in {config.cert}; without one it is never chosen")
        context = contexts.get(frozenset(names))
        if context is None:
            context = contexts[frozenset(names)] = self._new_context()
        elif own.key_kind in self._key_kinds[context]:
            raise ValueError(f"{where}cert: another certificate has the same names and the same kind of key")
        load_key_pair(context, own, config.key, config.password, where)
        self._key_kinds.setdefault(context, set()).add(own.key_kind)
        self._certificates.append(own)
        for name in names:
            self._by_name.setdefault(name, context)

    def _new_context(self) -> ssl.SSLContext:
        config = self.config
        context = new_context(ssl.PROTOCOL_TLS_SERVER, config.min_version, config.alpn)
        context.verify_mode = _VERIFY_MODES[config.client_certificate]
        if config.client_ca:
            load_authorities(context, config.client_ca, "client_ca")
        if config.ciphers:
            try:
                context.set_ciphers(config.ciphers)
            except ssl.SSLError:
                raise ValueError(f"ciphers: none that OpenSSL knows is in {config.ciphers!r}") from None
        return context

    @property
    def full(self) -> bool:
        """As many handshakes are under way as there may be."""
        return self.under_way >= self.config.max_handshakes

    def certificates(self) -> list[Certificate]:
        """What is presented, for the admin page and the gauge of expiry."""
        return self._certificates

    def accept(
        self,
        sock: socket.socket,
        poller: Poller,
        timers: Timers,
        on_ready: OnReady,
        on_failed: OnFailed,
        high: int = 64 * 1024,
    ) -> Handshake:
        """Begin the handshake on an accepted, nonblocking socket."""
        return Handshake(self, sock, "", poller, timers, on_ready, on_failed, high)

    def wrap(self, sock: socket.socket, hostname: str) -> ssl.SSLSocket:
        return self._first.wrap_socket(
            sock, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=False
        )

    def _choose(self, sock: object, name: str | None, _context: ssl.SSLContext) -> int | None:
        """Called by OpenSSL in each handshake, without a name too."""
        assert isinstance(sock, _ServerSocket)
        sock.server_name = name or ""
        context = self._find(_server_name(sock.server_name))
        if context is None:
            if self.config.require_sni:
                sock.refused = True
                return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        elif context is not self._first:
            sock.context = context
        return None

    def _find(self, name: str) -> ssl.SSLContext | None:
        found = self._by_name.get(name)
        return found if found is not None else self._by_name.get("*." + name.partition(".")[2])

    def approve(self, sock: ssl.SSLSocket) -> TlsInfo:
        assert isinstance(sock, _ServerSocket)
        subject, names = "", []
        if self.config.client_certificate != "off" and (certificate := sock.getpeercert()):
            subject, names = peer_subject(certificate), peer_names(certificate)
            if self._sans and not self._sans.allow(names):
                shown = ", ".join(f"{kind}:{text}" for kind, text in names) or "none"
                raise HandshakeFailed(
                    "tls_san_mismatch", f"the client's certificate ({subject}) has none of the names asked for: {shown}"
                )
        cipher = sock.cipher()
        return TlsInfo(
            sock.server_name,
            sock.selected_alpn_protocol() or "",
            sock.version() or "",
            cipher[0] if cipher else "",
            subject,
            tuple(f"{kind}:{text}" for kind, text in names),
        )

    def explain(self, sock: ssl.SSLSocket, error: ssl.SSLError) -> tuple[str, str]:
        assert isinstance(sock, _ServerSocket)
        if sock.refused:
            asked = f"{sock.server_name!r}, for which there is no certificate" if sock.server_name else "no server name"
            return "tls_unknown_name", f"the client asked for {asked}"
        return explain(error, "tls_client_certificate_")


def _server_name(name: str) -> str:
    return name.lower().rstrip(".")
