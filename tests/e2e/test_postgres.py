"""PostgreSQL: its clients do not notice that there is a proxy."""

from __future__ import annotations

import hashlib
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.proxies import Proxy, tcp
from proxy_process import wait_until
from services.needs import needs, program
from services.postgres import PostgresServer

MIB = 1 << 20


@pytest.fixture
def proxy(postgres: PostgresServer, tmp_path: Path) -> Iterator[Proxy]:
    with tcp(tmp_path, postgres.port) as proxy:
        yield proxy


def psql(*options: str) -> list[str]:
    return [program("psql"), "--no-psqlrc", "--quiet", *options]


@needs("psql")
def test_statements_and_errors(postgres: PostgresServer, proxy: Proxy) -> None:
    statements = "prepare double(int) as select 2 * $1; execute double(21); deallocate double"
    assert postgres.query(statements, proxy.port).splitlines()[1] == "42"
    with pytest.raises(subprocess.CalledProcessError) as caught:
        postgres.query("select 1 / 0", proxy.port)
    assert "division by zero" in caught.value.stderr
    proxy.ended("flags=-", times=2)


@needs("pgbench")
@pytest.mark.parametrize("protocol", ["simple", "extended", "prepared"])
def test_pgbench(postgres: PostgresServer, proxy: Proxy, protocol: str) -> None:
    environment = postgres.environment(proxy.port)
    initialise = [program("pgbench"), "--initialize", "--quiet", "--unlogged-tables", "--init-steps=dtgvp"]
    subprocess.run(initialise, env=environment, check=True, capture_output=True)
    load = [program("pgbench"), "--protocol", protocol, "--client=8", "--jobs=2", "--transactions=50", "--connect"]
    done = subprocess.run(load, env=environment, check=True, capture_output=True, text=True)
    assert "number of transactions actually processed: 400/400" in done.stdout
    assert "number of failed transactions: 0 " in done.stdout


@needs("psql")
def test_copy_of_64_mib_both_ways(postgres: PostgresServer, proxy: Proxy) -> None:
    there = postgres.environment(proxy.port)
    postgres.query("create unlogged table if not exists copied (number int, text text)")
    rows = b"".join(b"%d\t%s\n" % (at, hashlib.sha512(b"%d" % at).hexdigest().encode() * 8) for at in range(66_000))
    subprocess.run(psql("--command", "copy copied from stdin"), env=there, input=rows, check=True)
    back = subprocess.run(psql("--command", "copy copied to stdout"), env=there, capture_output=True, check=True)
    assert len(rows) > 64 * MIB
    assert hashlib.sha256(back.stdout).digest() == hashlib.sha256(rows).digest()
    postgres.query("drop table copied")
    for line in proxy.ended("flags=-", times=2):
        received, sent = (int(line.partition(f"{word}=")[2].split()[0]) for word in ("received", "sent"))
        assert max(received, sent) > len(rows)


@needs("psql")
def test_a_query_is_cancelled_over_a_connection_of_its_own(postgres: PostgresServer, proxy: Proxy) -> None:
    command = psql("--command", "select pg_sleep(600)")
    with subprocess.Popen(command, env=postgres.environment(proxy.port), stderr=subprocess.PIPE, text=True) as client:
        asleep = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'"
        wait_until(lambda: postgres.query(asleep) == "1", "the query sleeps")
        client.send_signal(signal.SIGINT)
        _, error = client.communicate(timeout=30)
    assert "canceling statement due to user request" in error
    proxy.ended(times=2)


@needs("psql")
def test_the_server_speaks_first_when_it_ends_a_session(postgres: PostgresServer, proxy: Proxy) -> None:
    command = psql("--tuples-only", "--no-align")
    with subprocess.Popen(
        command, env=postgres.environment(proxy.port), text=True, bufsize=1,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as client:  # fmt: skip
        assert client.stdin is not None
        assert client.stdout is not None
        print("select pg_backend_pid();", file=client.stdin)
        session = int(client.stdout.readline())
        assert postgres.query(f"select pg_terminate_backend({session})") == "t"
        _, error = client.communicate("select 1;\n", timeout=30)
    assert "terminating connection due to administrator command" in error
    assert " upstream:" in proxy.ended()[0]
