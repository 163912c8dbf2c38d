from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest

import l4proxy.logging_setup
from clusters import address, black_hole, fails, go_silent, listening, refused, run, running, until
from l4proxy.address import Address
from l4proxy.balancer import stable_hash
from l4proxy.cluster import Cluster
from l4proxy.connect import ConnectRequest
from l4proxy.dial import lost_detail
from l4proxy.endpoint import Endpoint, EndpointSpec
from l4proxy.errors import UpstreamError
from l4proxy.poller import Poller
from l4proxy.stream import Stream
from services.needs import needs


def several(cluster: Cluster, *addresses: str) -> None:
    """Make the cluster have one endpoint with several addresses."""
    cluster._update([EndpointSpec("several", tuple(Address.parse(one) for one in addresses))])


def over_the_network(cluster: Cluster) -> None:
    """Make the endpoints look like remote ones, so that a connection is never there at once."""
    for endpoint in cluster.endpoints.current.values():
        endpoint.targets = tuple(target._replace(loopback=False) for target in endpoint.targets)


class Outcome:
    """The callbacks of one attempt."""

    def __init__(self, cluster: Cluster, **request: Any) -> None:
        self.stream: Stream | None = None
        self.endpoint: Endpoint | None = None
        self.error: UpstreamError | None = None
        self.calls = 0
        self.attempt = cluster.connect(ConnectRequest(**request), self._connected, self._failed)

    def _connected(self, stream: Stream, endpoint: Endpoint) -> None:
        self.calls += 1
        self.stream, self.endpoint = stream, endpoint

    def _failed(self, error: UpstreamError) -> None:
        self.calls += 1
        self.error = error


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_connection_carries_bytes_both_ways(host: str) -> None:
    async def main() -> None:
        with listening(host) as server:
            async with running() as runtime:
                cluster = runtime.cluster(address(server))
                stream, endpoint = await cluster.open(ConnectRequest())
                assert endpoint.name == address(server)
                peer, _ = server.accept()
                with peer:
                    got: list[bytes] = []
                    stream.on_data = got.append
                    stream.start()
                    stream.write(b"ping")
                    assert peer.recv(4) == b"ping"
                    peer.sendall(b"pong")
                    await until(lambda: got)
                    assert got == [b"pong"]
                    stream.close()

    run(main)


def test_on_loopback_the_callback_comes_at_once() -> None:
    async def main() -> None:
        with listening() as server:
            async with running() as runtime:
                outcome = Outcome(runtime.cluster(address(server)))
                assert outcome.attempt.done
                assert outcome.calls == 1
                assert outcome.stream is not None

    run(main)


@pytest.mark.parametrize("abstract", [False, True])
def test_unix_sockets(abstract: bool, tmp_path: Path) -> None:
    path = f"@l4proxy-{os.getpid()}" if abstract else str(tmp_path / "s")

    async def main() -> None:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("\0" + path[1:] if abstract else path)
            server.listen()
            async with running() as runtime:
                stream, endpoint = await runtime.cluster(f"unix:{path}").open(ConnectRequest())
                assert endpoint.name == f"unix:{path}"
                stream.close()

    run(main)


def test_sockets_get_the_configured_options() -> None:
    async def main() -> None:
        with listening() as server:
            async with running() as runtime:
                keepalive = {"idle": "7s", "interval": "3s", "count": 2}
                cluster = runtime.cluster(address(server), keepalive=keepalive, buffer_limit="32KiB")
                stream, _ = await cluster.open(ConnectRequest())
                option = stream.sock.getsockopt
                assert option(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                assert option(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                assert option(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 7
                assert option(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 3
                assert option(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 2
                assert stream.sock.gettimeout() == 0
                assert stream.high == 32 * 1024
                stream.close()

    run(main)


def test_the_source_address_is_used() -> None:
    async def main() -> None:
        with listening() as server:
            async with running() as runtime:
                cluster = runtime.cluster(address(server), bind="127.0.0.2:0")
                stream, _ = await cluster.open(ConnectRequest())
                assert stream.sock.getsockname()[0] == "127.0.0.2"
                stream.close()

    run(main)


# Failures, each by its name


def failure(*endpoints: str, **options: object) -> UpstreamError:
    async def main() -> UpstreamError:
        async with running() as runtime:
            cluster = runtime.cluster(*endpoints, **options)
            error = await fails(cluster)
            assert cluster.stats.connect_failed_total.values == {error.detail: 1}
            for endpoint in cluster.endpoints.current.values():
                assert endpoint.stats.connect_failed_total.values == {error.detail: 1}
                assert (endpoint.connections, endpoint.active) == (0, 0)
            assert cluster.connecting == 0
            return error

    return run(main)


def test_refused() -> None:
    where = refused()
    error = failure(where)
    assert (error.flag, error.detail, error.errno) == ("UF", "connect_refused", errno.ECONNREFUSED)
    assert str(error) == f"cluster c: endpoint {where}: Connection refused"


def test_failures_are_said_but_not_each(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(l4proxy.logging_setup, "_last_said", {})
    where = refused()
    for _ in range(3):
        failure(where)
    assert [record.getMessage() for record in caplog.records] == [
        f"cluster c: endpoint {where}: Connection refused (1 times)"
    ]


def test_black_hole() -> None:
    with black_hole() as where:
        error = failure(where, connect_timeout="200ms")
    assert (error.flag, error.detail, error.errno) == ("UF", "connect_timeout", 0)
    assert str(error) == f"cluster c: endpoint {where}: no answer within 0.2 s"


def test_unreachable() -> None:
    error = failure("255.255.255.255:9")
    assert (error.flag, error.detail) == ("UF", "unreachable")


def test_no_such_unix_socket(tmp_path: Path) -> None:
    error = failure(f"unix:{tmp_path}/none")
    assert (error.flag, error.detail, error.errno) == ("UF", "no_such_socket", errno.ENOENT)


def test_a_source_address_that_is_not_ours() -> None:
    error = failure(refused(), bind="192.0.2.1:0")
    assert (error.flag, error.detail, error.errno) == ("UF", "bind_failed", errno.EADDRNOTAVAIL)
    assert "192.0.2.1" in str(error)


def test_reset_while_connecting() -> None:
    async def main() -> None:
        with listening() as server:
            async with running() as runtime:
                cluster = runtime.cluster(address(server))
                over_the_network(cluster)
                outcome = Outcome(cluster)
                peer, _ = server.accept()
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                peer.close()
                await until(lambda: outcome.calls)
                assert outcome.error is not None
                assert (outcome.error.flag, outcome.error.detail) == ("UF", "connect_reset")

    run(main)


def test_out_of_file_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with running() as runtime:
            cluster = runtime.cluster(refused(), refused())

            def no_socket(*_: object) -> socket.socket:
                raise OSError(errno.EMFILE, "Too many open files")

            with monkeypatch.context() as patch:
                patch.setattr("l4proxy.dial.socket.socket", no_socket)
                error = await fails(cluster, ConnectRequest(attempts=5))
            assert (error.flag, error.detail, error.errno) == ("UO", "no_file_descriptors", errno.EMFILE)
            assert cluster.stats.retries_total == 0

    run(main)


NO_LOCAL_PORT = """
import subprocess
from pathlib import Path
from typing import Any, cast
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)

from clusters import ConnectRequest, address, fails, listening, run, running

async def main():
    with listening() as server:
        Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("20000 20001")
        async with running() as runtime:
            cluster = runtime.cluster(address(server))
            streams = [(await cluster.open(ConnectRequest()))[0] for _ in range(2)]
            error = await fails(cluster)
            print(error.flag, error.detail, error)

run(main)
"""


@needs("netns", "ip")
def test_no_local_port_is_left() -> None:
    command = ["unshare", "--net", sys.executable, "-c", NO_LOCAL_PORT]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.startswith("UF no_local_port cluster c: endpoint 127.0.0.1:"), done.stderr


def test_a_half_open_connection_is_found_by_keepalive() -> None:
    async def main() -> None:
        with listening() as server:
            async with running() as runtime:
                keepalive = {"idle": "1s", "interval": "1s", "count": 1}
                stream, _ = await runtime.cluster(address(server), keepalive=keepalive).open(ConnectRequest())
                peer, _ = server.accept()
                with peer:
                    go_silent(peer)
                    lost: list[OSError] = []
                    stream.on_lost = lost.append
                    stream.start()
                    await until(lambda: lost)
                    assert lost_detail(lost[0]) == "half_open"

    run(main)


# Several endpoints


def test_the_next_attempt_goes_to_another_endpoint() -> None:
    async def main() -> None:
        with listening() as server:
            dead = refused()
            async with running() as runtime:
                cluster = runtime.cluster(dead, address(server))
                for _ in range(4):
                    outcome = Outcome(cluster, attempts=2)
                    await until(lambda: outcome.calls)  # noqa: B023
                    assert outcome.endpoint is not None
                    assert outcome.stream is not None
                    assert outcome.endpoint.name == address(server)
                    assert outcome.attempt.number in (1, 2)
                    outcome.stream.close()
                assert cluster.stats.connections_total == 4
                assert cluster.stats.retries_total == cluster.stats.connect_failed_total["connect_refused"] > 0
                assert cluster.endpoints.current[dead].stats.connect_failed_total["connect_refused"] > 0

    run(main)


def test_a_black_hole_is_left_after_the_connect_timeout() -> None:
    async def main() -> None:
        with listening() as server, black_hole() as silent:
            async with running() as runtime:
                cluster = runtime.cluster({"address": silent, "weight": 1000}, address(server), connect_timeout="100ms")
                outcome = Outcome(cluster, attempts=2)
                assert outcome.attempt.endpoint is cluster.endpoints.current[silent]
                await until(lambda: outcome.calls)
                assert outcome.endpoint is cluster.endpoints.current[address(server)]
                assert outcome.attempt.number == 2
                assert outcome.stream is not None
                outcome.stream.close()

    run(main)


def test_attempts_that_are_used_up() -> None:
    async def main() -> None:
        async with running() as runtime:
            cluster = runtime.cluster(refused(), refused(), refused())
            error = await fails(cluster, ConnectRequest(attempts=3))
            assert (error.flags, error.detail, error.errno) == (("UF", "URX"), "connect_refused", errno.ECONNREFUSED)
            assert error.endpoint in cluster.endpoints.current
            assert error.attempts == 3
            assert cluster.stats.retries_total == 2
            assert cluster.stats.connect_failed_total.values == {"connect_refused": 3}
            for endpoint in cluster.endpoints.current.values():
                assert endpoint.stats.connect_failed_total.values == {"connect_refused": 1}

    run(main)


@pytest.mark.parametrize("policy", ["ring_hash", "maglev", "round_robin", "random", "least_request"])
def test_every_policy_finds_the_one_that_lives(policy: str) -> None:
    async def main() -> None:
        with listening() as server:
            async with running() as runtime:
                options = {"use": policy} | ({"table_size": 101} if policy == "maglev" else {})
                cluster = runtime.cluster(refused(), refused(), address(server), load_balancer=options)
                for number in range(10):
                    key = stable_hash(b"%d" % number)
                    stream, endpoint = await cluster.open(ConnectRequest(hash_key=key, attempts=3))
                    assert endpoint.name == address(server)
                    stream.close()

    run(main)


def test_more_attempts_than_endpoints_begin_again() -> None:
    async def main() -> None:
        async with running() as runtime:
            cluster = runtime.cluster(refused(), refused())
            await fails(cluster, ConnectRequest(attempts=5))
            failures = [one.stats.connect_failed_total["connect_refused"] for one in cluster.endpoints.current.values()]
            assert sorted(failures) in ([2, 3], [1, 4])

    run(main)


def test_backoff_waits_between_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def main() -> None:
        async with running() as runtime:
            cluster = runtime.cluster(refused())
            call_later = runtime.timers.call_later

            def noting(delay: float, callback: object) -> object:
                pauses.append(delay)
                return call_later(0, callback)  # type: ignore[arg-type]

            monkeypatch.setattr(runtime.timers, "call_later", noting)
            await fails(cluster, ConnectRequest(attempts=7, backoff=2.0))

    monkeypatch.setattr("l4proxy.connect.random.random", lambda: 1.0)
    run(main)
    assert pauses == [2.0, 6.0, 14.0, 20.0, 20.0, 20.0]


def test_a_given_endpoint_and_no_other() -> None:
    async def main() -> None:
        with listening() as server:
            async with running() as runtime:
                cluster = runtime.cluster(refused(), address(server))
                wanted = cluster.endpoints.current[address(server)]
                for _ in range(3):
                    stream, endpoint = await cluster.open(ConnectRequest(endpoint=wanted))
                    assert endpoint is wanted
                    stream.close()

    run(main)


# Happy eyeballs


def test_the_first_address_is_preferred() -> None:
    async def main() -> None:
        with listening("::1") as six, listening() as four:
            async with running() as runtime:
                cluster = runtime.cluster(refused())
                several(cluster, address(six), address(four))
                stream, _ = await cluster.open(ConnectRequest())
                assert stream.sock.family == socket.AF_INET6
                stream.close()

    run(main)


def test_an_address_that_refuses_is_followed_by_the_next_at_once() -> None:
    async def main() -> None:
        with listening() as four:
            async with running() as runtime:
                cluster = runtime.cluster(refused())
                several(cluster, refused("::1"), address(four))
                outcome = Outcome(cluster)
                assert outcome.stream is not None
                assert outcome.stream.sock.family == socket.AF_INET
                assert outcome.attempt.number == 1
                assert cluster.stats.connect_failed_total.values == {}
                outcome.stream.close()

    run(main)


def test_an_address_that_is_silent_is_overtaken() -> None:
    async def main() -> None:
        with listening() as four, black_hole("::1") as silent:
            async with running() as runtime:
                cluster = runtime.cluster(refused(), connect_timeout="20s")
                several(cluster, silent, address(four))
                before = len(runtime.poller)
                outcome = Outcome(cluster)
                await until(lambda: outcome.calls)
                assert outcome.stream is not None
                assert outcome.stream.sock.family == socket.AF_INET
                assert len(runtime.poller) == before
                outcome.stream.close()

    run(main)


def test_one_that_answers_late_still_wins_when_the_others_fail() -> None:
    async def main() -> None:
        with listening() as late:
            async with running() as runtime:
                cluster = runtime.cluster(refused(), connect_timeout="20s")
                several(cluster, address(late), refused("::1"))
                over_the_network(cluster)
                outcome = Outcome(cluster)
                outcome.attempt._dial_next()  # as if 250 ms were over
                await until(lambda: outcome.calls)
                assert outcome.stream is not None
                outcome.stream.close()

    run(main)


def test_the_failure_named_is_one_that_got_further_than_routing() -> None:
    async def main() -> None:
        async with running() as runtime:
            cluster = runtime.cluster(refused())
            several(cluster, refused(), "255.255.255.255:9")
            error = await fails(cluster)
            assert error.detail == "connect_refused"
            assert cluster.stats.connect_failed_total.values == {"connect_refused": 1}

    run(main)


def test_all_addresses_together_have_the_connect_timeout() -> None:
    async def main() -> None:
        with black_hole("::1") as six, black_hole() as four:
            async with running() as runtime:
                cluster = runtime.cluster(refused(), connect_timeout="400ms")
                several(cluster, six, four)
                before = len(runtime.poller)
                error = await fails(cluster)
                assert error.detail == "connect_timeout"
                assert len(runtime.poller) == before

    run(main)


def test_a_full_unix_socket_is_tried_again(tmp_path: Path) -> None:
    async def main() -> None:
        with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as filler:
            server.bind(str(tmp_path / "s"))
            server.listen(0)
            filler.connect(str(tmp_path / "s"))
            async with running() as runtime:
                outcome = Outcome(runtime.cluster(f"unix:{tmp_path}/s"))
                assert not outcome.calls
                server.accept()[0].close()
                await until(lambda: outcome.calls)
                assert outcome.stream is not None
                outcome.stream.close()

    run(main)


# Cancelling


def test_a_cancelled_attempt_says_nothing_and_leaves_nothing() -> None:
    async def main() -> None:
        with black_hole("::1") as six, black_hole() as four:
            async with running() as runtime:
                cluster = runtime.cluster(refused())
                several(cluster, six, four)
                before = len(runtime.poller)
                outcome = Outcome(cluster)
                outcome.attempt._dial_next()
                assert len(runtime.poller) == before + 2
                outcome.attempt.cancel()
                outcome.attempt.cancel()
                assert outcome.attempt.done
                assert len(runtime.poller) == before
                assert cluster.connecting == 0
                assert cluster.endpoints.current["several"].connections == 0
                await asyncio.sleep(0)
                assert outcome.calls == 0

    run(main)


def test_a_cancelled_coroutine_cancels_its_attempt() -> None:
    async def main() -> None:
        with black_hole() as silent:
            async with running() as runtime:
                cluster = runtime.cluster(silent)
                task = asyncio.create_task(cluster.open(ConnectRequest()))
                await until(lambda: cluster.connecting)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert cluster.connecting == 0

    run(main)


def test_a_coroutine_that_is_cancelled_as_it_connects_closes_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        with listening() as server:
            async with running() as runtime:
                cluster = runtime.cluster(address(server))
                over_the_network(cluster)
                task = asyncio.create_task(cluster.open(ConnectRequest()))
                opened = cluster.endpoints.opened

                def opened_and_cancelled(endpoint: Endpoint, stream: Stream, seconds: float) -> None:
                    opened(endpoint, stream, seconds)
                    task.cancel()

                monkeypatch.setattr(cluster.endpoints, "opened", opened_and_cancelled)
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert cluster.stats.connections_total == 1
                assert cluster.endpoints.open == 0

    run(main)


# TLS


class Handshake:
    """A handshake that ends when a test says so."""

    def __init__(self, sock: socket.socket, server_name: str, poller: Poller, _timers: object, *callbacks: Any) -> None:
        self.sock = sock
        self.server_name = server_name
        self.pending = True
        self._poller = poller
        self._ready, self._failed, self._limit = callbacks

    def succeed(self) -> None:
        self.pending = False
        self._ready(Stream(self.sock, self._poller, self._limit), None, 0.0)

    def fail(self, why: str, message: str) -> None:
        self.cancel()
        self._failed(why, message)

    def cancel(self) -> None:
        self.pending = False
        self.sock.close()


class Tls:
    """Stands in for the TLS of a cluster."""

    def __init__(self) -> None:
        self.handshakes: list[Handshake] = []

    def connect(self, *args: Any) -> Handshake:
        self.handshakes.append(Handshake(*args))
        return self.handshakes[-1]


def with_tls(cluster: Cluster) -> Tls:
    tls = Tls()
    cluster.tls = cast(Any, tls)
    return tls


def test_a_connection_is_ready_after_its_handshake() -> None:
    async def main() -> None:
        with listening() as server:
            async with running() as runtime:
                cluster = runtime.cluster(address(server))
                tls = with_tls(cluster)
                cluster._update([EndpointSpec.of_address(Address.parse(address(server)), hostname="db.test")])
                outcome = Outcome(cluster)
                (handshake,) = tls.handshakes
                assert (outcome.calls, handshake.server_name, cluster.connecting) == (0, "db.test", 1)
                handshake.succeed()
                assert outcome.stream is not None
                assert cluster.endpoints.open == 1
                outcome.stream.close()
                assert cluster.endpoints.open == 0

    run(main)


def test_a_failed_handshake_is_a_failed_attempt() -> None:
    async def main() -> None:
        with listening() as one, listening() as other:
            async with running() as runtime:
                cluster = runtime.cluster(address(one), address(other))
                tls = with_tls(cluster)
                outcome = Outcome(cluster, attempts=2)
                tls.handshakes[0].fail("tls_untrusted", "nobody signed the certificate")
                first, second = tls.handshakes
                assert {first.sock.fileno(), cluster.connecting} == {-1, 1}
                second.fail("tls_untrusted", "nobody signed the certificate")
                assert outcome.error is not None
                assert (outcome.error.flags, outcome.error.detail) == (("UF", "URX"), "tls_untrusted")
                assert str(outcome.error).endswith(": nobody signed the certificate")
                assert cluster.stats.connect_failed_total.values == {"tls_untrusted": 2}
                assert cluster.connecting == 0

    run(main)


def test_a_handshake_can_be_cancelled() -> None:
    async def main() -> None:
        with listening() as server:
            async with running() as runtime:
                cluster = runtime.cluster(address(server))
                tls = with_tls(cluster)
                outcome = Outcome(cluster)
                outcome.attempt.cancel()
                assert not tls.handshakes[0].pending
                assert (outcome.calls, cluster.connecting) == (0, 0)

    run(main)
