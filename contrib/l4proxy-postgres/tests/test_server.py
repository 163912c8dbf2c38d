"""With a real server and its own clients, found as these find it: by PGHOST, PGPORT, PGUSER ... in the environment."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from l4proxy.testing import Proxy, StartProxy

from l4proxy_postgres import Postgres

ROWS = 300_000


def run(running: Proxy, *argv: str, stdin: bytes | None = None, check: bool = True) -> bytes:
    """Run a client through the proxy."""
    host, port = running.address
    env = {**os.environ, "PGHOST": host, "PGPORT": str(port), "PGAPPNAME": "tests"}
    done = subprocess.run([*argv], check=False, env=env, input=stdin, capture_output=True)
    assert not check or done.returncode == 0, done.stderr.decode()
    return done.stdout


def psql(running: Proxy, *commands: str, stdin: bytes | None = None, check: bool = True) -> bytes:
    options = [word for command in commands for word in ("--command", command)]
    return run(running, "psql", "--no-psqlrc", "--tuples-only", "--no-align", *options, stdin=stdin, check=check)


@pytest.fixture
def running(proxy: StartProxy) -> Proxy:
    if "PGHOST" not in os.environ:
        pytest.skip("needs a PostgreSQL server: set PGHOST, PGPORT, PGUSER and PGDATABASE")
    if not (shutil.which("psql") and shutil.which("pgbench")):
        pytest.skip("needs PostgreSQL's clients, psql and pgbench")
    return proxy(
        Postgres, upstream=f"{os.environ['PGHOST']}:{os.environ.get('PGPORT', '5432')}", slow_statement="100ms"
    )


@pytest.fixture
def table(running: Proxy) -> Iterator[str]:
    """The name of a table that is dropped after the test, if it was created."""
    name = f"t_{uuid.uuid4().hex}"
    yield name
    psql(running, f"drop table if exists {name}")


def test_psql(running: Proxy, table: str) -> None:
    create, insert = f"create table {table} (a int)", f"insert into {table} values (1), (2), (3)"
    assert psql(running, create, insert, f"select sum(a) from {table} where a < 3") == b"CREATE TABLE\nINSERT 0 3\n3\n"
    running.wait_closed()
    state = running.records[0].state
    assert (state["postgres:user"], state["postgres:application_name"]) == (os.environ["PGUSER"], "tests")
    assert state["postgres:statements"] == 3
    for command in ("CREATE TABLE", "INSERT", "SELECT"):
        assert running.stat("l4proxy_postgres_commands_total", command=command) == 1
    assert running.stat("l4proxy_postgres_rows_total") == 3 + 1
    assert running.stat("l4proxy_postgres_statement_rows_total", statement=f"insert into {table} values (?)") == 3
    assert running.stat("l4proxy_inspection_stopped_total") == 0


def test_errors_and_transactions(running: Proxy) -> None:
    psql(running, "select 1/0", check=False)
    psql(running, stdin=b"begin; select no_such_column;\nselect 1;\nrollback;\nselect 2;")
    assert running.stat("l4proxy_postgres_errors_total", sqlstate="22012") == 1
    assert running.stat("l4proxy_postgres_errors_total", sqlstate="42703") == 1
    assert running.stat("l4proxy_postgres_errors_total", sqlstate="25P02") == 1
    assert running.stat("l4proxy_postgres_statement_errors_total", statement="select ?/?") == 1
    assert running.stat("l4proxy_postgres_commands_total", command="ROLLBACK") == 1


def test_slow_statements(running: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    psql(running, "select pg_sleep(0.15), 'secret'")
    running.wait_closed()  # an observer sees an answer when psql may have it already
    (line,) = [line for line in caplog.messages if "pg_sleep" in line]
    assert " SELECT 1" in line
    assert line.endswith(" select pg_sleep(?), ?")


def test_many_rows_and_large_ones(running: Proxy) -> None:
    assert len(psql(running, "select repeat('x', 1000) from generate_series(1, 20000)")) == 1001 * 20000
    assert len(psql(running, "select repeat('x', 50000000)")) == 50_000_001
    assert running.stat("l4proxy_postgres_rows_total") == 20_001


def test_a_long_statement(running: Proxy) -> None:
    assert psql(running, stdin=b"select length('" + b"x" * 3_000_000 + b"');") == b"3000000\n"
    assert running.stat("l4proxy_postgres_statement_calls_total", statement="select length(?") == 1


def test_copy_of_much_data_both_ways(running: Proxy, table: str, tmp_path: Path) -> None:
    rows = b"".join(
        b"%d\t%s\n" % (number, hashlib.sha256(b"%d" % number).hexdigest().encode()) for number in range(ROWS)
    )
    psql(running, f"create table {table} (a int, b text)")
    (tmp_path / "rows").write_bytes(rows)
    psql(running, f"\\copy {table} from '{tmp_path}/rows'")
    copied = psql(running, f"copy (select * from {table} order by a) to stdout")
    assert hashlib.sha256(copied).digest() == hashlib.sha256(rows).digest()
    assert running.stat("l4proxy_postgres_copy_received_bytes_total") == len(rows)
    assert running.stat("l4proxy_postgres_copy_sent_bytes_total") == len(rows)
    assert running.stat("l4proxy_postgres_commands_total", command="COPY") == 2
    assert running.stat("l4proxy_postgres_rows_total") == 2 * ROWS


def test_a_copy_with_a_bad_row(running: Proxy, table: str) -> None:
    psql(running, f"create table {table} (a int)")
    psql(running, f"copy {table} from stdin", stdin=b"1\n2\nthree\n\\.\n", check=False)
    assert running.stat("l4proxy_postgres_errors_total", sqlstate="22P02") == 1
    assert psql(running, "select 1") == b"1\n"


@pytest.mark.parametrize("protocol", ["simple", "extended", "prepared"])
def test_pgbench(running: Proxy, protocol: str, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("\\set a random(1, 1000)\nselect :a + 1;\nselect count(*) from pg_class where relpages < :a;\n")
    count = ["--client=4", "--transactions=50", "--no-vacuum", f"--protocol={protocol}", f"--file={script}"]
    assert b"number of transactions actually processed: 200/200" in run(running, "pgbench", *count)
    calls = "l4proxy_postgres_statement_calls_total"
    assert running.stat(calls, statement="select ? + ?") == 200
    assert running.stat(calls, statement="select count(*) from pg_class where relpages < ?") == 200
    assert running.stat("l4proxy_postgres_statement_seconds") >= 400
    assert running.stat("l4proxy_inspection_stopped_total") == 0


def test_pgbench_with_pipelines(running: Proxy, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("\\startpipeline\nselect 1;\nselect 2 from pg_class;\nselect 3;\n\\endpipeline\n")
    count = ["--client=2", "--transactions=20", "--no-vacuum", "--protocol=extended", f"--file={script}"]
    run(running, "pgbench", *count)
    assert running.stat("l4proxy_postgres_statement_calls_total", statement="select ?") == 80
    assert running.stat("l4proxy_postgres_statement_calls_total", statement="select ? from pg_class") == 40


def test_a_server_that_speaks_no_tls_is_asked_for_it(running: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSSLMODE", "prefer")
    assert psql(running, "select 'ssl: ' || ssl from pg_stat_ssl where pid = pg_backend_pid()") == b"ssl: false\n"
    assert running.stat("l4proxy_postgres_commands_total", command="SELECT") == 1


def test_a_query_that_is_cancelled(running: Proxy) -> None:
    host, port = running.address
    env = {**os.environ, "PGHOST": host, "PGPORT": str(port)}
    sleeping = subprocess.Popen(["psql", "--no-psqlrc", "--command", "select pg_sleep(600)"], env=env, stderr=-1)
    while not running.stat("l4proxy_postgres_sessions_total"):
        assert sleeping.poll() is None
    while psql(running, "select count(*) from pg_stat_activity where query = 'select pg_sleep(600)'") != b"1\n":
        pass
    sleeping.send_signal(2)
    _, said = sleeping.communicate()
    assert b"canceling statement due to user request" in said
    assert running.stat("l4proxy_postgres_cancel_requests_total") == 1
    assert running.stat("l4proxy_postgres_errors_total", sqlstate="57014") == 1
