"""A small resolver that speaks DNS, because only that tells how long an answer holds, and knows of services.

In this order: ``/etc/hosts``; the name servers of ``/etc/resolv.conf`` (or those given), over UDP, over TCP where the
answer is too large; at last, in a thread, what the system does. It keeps nothing: who asks keeps answers for as long as
they hold.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from l4proxy.address import Address
from l4proxy.codec import LocalProtocolError, RemoteProtocolError
from l4proxy.plugins.host_files import ReadFile, ResolvConf, parse_hosts, parse_resolv_conf
from l4proxy.protocols import dns
from l4proxy.protocols.dns import Rcode, RecordType, Srv
from l4proxy.resolver import Addresses, ResolveError, Resolver, Service, Services, SystemResolver

__all__ = ["DnsResolver"]

T = TypeVar("T")
FAILURES: dict[int, str] = {
    Rcode.FORMAT_ERROR: "does not understand the question",
    Rcode.SERVER_FAILURE: "failed",
    Rcode.NOT_IMPLEMENTED: "does not answer such questions",
    Rcode.REFUSED: "refuses to answer",
}


class DnsResolver(Resolver):
    """``servers`` are asked instead of those of ``resolv_conf``; then the system's resolver is not asked at last."""

    def __init__(
        self,
        servers: Sequence[Address] = (),
        *,
        resolv_conf: str | Path = "/etc/resolv.conf",
        hosts: str | Path = "/etc/hosts",
    ) -> None:
        self._servers = tuple(servers)
        self._conf = ReadFile(resolv_conf, parse_resolv_conf)
        self._hosts = ReadFile(hosts, parse_hosts)
        self._last_resort = None if servers else SystemResolver()

    async def addresses(self, host: str) -> Addresses:
        known = self._hosts.get().get(host.removesuffix(".").lower())
        if known:
            return Addresses(known)
        try:
            return await self._first(host, self._addresses_of)
        except ResolveError:
            if self._last_resort is None:
                raise
            return await self._last_resort.addresses(host)

    async def services(self, name: str) -> Services:
        return await self._first(name, self._services_of)

    async def _first(self, name: str, look_up: Callable[[str, ResolvConf], Awaitable[T]]) -> T:
        """The answer for the first of the full names that ``name`` may stand for which has one."""
        conf = self._conf.get()
        missing: ResolveError | None = None
        for candidate in conf.candidates(name):
            try:
                return await look_up(candidate, conf)
            except ResolveError as error:
                if error.code != "not_found":
                    raise
                missing = missing or error
        assert missing is not None
        raise missing

    async def _addresses_of(self, name: str, conf: ResolvConf) -> Addresses:
        results = await asyncio.gather(
            self._ask(name, RecordType.AAAA, conf), self._ask(name, RecordType.A, conf), return_exceptions=True
        )
        answers = [result for result in results if isinstance(result, dns.Answer)]
        hosts = tuple(str(record.data) for answer in answers for record in answer.records)
        if hosts:
            return Addresses(hosts, min(answer.ttl for answer in answers if answer.records and answer.ttl is not None))
        for result in results:
            if isinstance(result, BaseException):
                raise result
        raise ResolveError("not_found", f"{name} has no address")

    async def _services_of(self, name: str, conf: ResolvConf) -> Services:
        answer = await self._ask(name, RecordType.SRV, conf)
        found = [record.data for record in answer.records if isinstance(record.data, Srv) and record.data.target]
        if not found:
            raise ResolveError("not_found", f"{name} has no server")
        return Services(
            tuple(Service(f"{one.target}.", one.port, one.priority, one.weight) for one in found), answer.ttl
        )

    async def _ask(self, name: str, record_type: RecordType, conf: ResolvConf) -> dns.Answer:
        """Ask one server after the other until one knows."""
        servers = self._servers or conf.servers
        if conf.rotate:
            servers = tuple(random.sample(servers, len(servers)))
        failure = ResolveError("failed", "no name server")
        for _ in range(conf.attempts):
            for server in servers:
                try:
                    response = await _exchange(server, name, record_type, conf.timeout)
                    if response.rcode == Rcode.NO_ERROR:
                        return dns.find_answer(response, name, record_type)
                except TimeoutError:
                    failure = ResolveError("timeout", f"name server {server} does not answer")
                    continue
                except LocalProtocolError as error:
                    raise ResolveError("not_found", str(error)) from None
                except (OSError, RemoteProtocolError, asyncio.IncompleteReadError) as error:
                    failure = ResolveError("failed", f"name server {server}: {error}")
                    continue
                if response.rcode == Rcode.NAME_ERROR:
                    raise ResolveError("not_found", f"there is no {name}")
                why = FAILURES.get(response.rcode, f"failed (code {response.rcode})")
                failure = ResolveError("failed", f"name server {server} {why}")
        raise failure


async def _exchange(server: Address, name: str, record_type: int, timeout: float) -> dns.Response:
    """One question, one answer. Raises TimeoutError, OSError, ProtocolError."""
    query = dns.encode_query(int.from_bytes(os.urandom(2), "big"), name, record_type)
    async with asyncio.timeout(timeout):
        response = dns.read_response(await _over_udp(server, query))
        if response.truncated:
            response = dns.read_response(await _over_tcp(server, query))
    return response


async def _over_udp(server: Address, query: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.connect((server.host, server.port))  # only its datagrams arrive, and "port unreachable" is an error
        await loop.sock_sendall(sock, query)
        while True:
            data = await loop.sock_recv(sock, 65535)
            if dns.is_reply(data, query):
                return data


async def _over_tcp(server: Address, query: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        writer.write(len(query).to_bytes(2, "big") + query)
        size = int.from_bytes(await reader.readexactly(2), "big")
        return await reader.readexactly(size)
    finally:
        writer.transport.abort()
