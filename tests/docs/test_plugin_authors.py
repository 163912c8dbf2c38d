"""The plugin authors' guide: its modules are imported and used, its tests pass, its walk from nothing to pip works."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import itertools
import json
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import l4proxy
from docs.pages import AUTHORS, Block, blocks, commands, headings
from l4proxy import CloseReason, ConfigError, Conn, Filter, PeekInfo, Side, hookspecs
from l4proxy.cli.main import main
from l4proxy.config import load_file, load_mapping
from l4proxy.kind import Kind
from l4proxy.plugin_check import HOOKS
from l4proxy.plugin_manager import PluginManager
from l4proxy.server import Server, serve
from l4proxy.testing import check_filter, check_inspector, check_matcher, harness
from source_tree import ROOT

PYTHON = blocks(AUTHORS, "python")
CENSOR = PYTHON[:2]
numbers = itertools.count()


def imported(block: Block, directory: Path) -> ModuleType:
    """A block as a module of a name of its own."""
    name = f"guide_{next(numbers)}"
    file = directory / f"{name}.py"
    file.write_text(block.text)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def under(heading: str) -> Block:
    """The only block of a chapter."""
    (found,) = (block for block in PYTHON if block.heading.startswith(heading))
    return found


@pytest.fixture
def module(request: pytest.FixtureRequest, tmp_path: Path) -> ModuleType:
    return imported(under(request.param), tmp_path)


@pytest.fixture
def plugins(module: ModuleType) -> PluginManager:
    manager = PluginManager()
    manager.register(module, "guide")
    return manager


def of_chapter(heading: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("module", [heading], indirect=True, ids=[""])


def of_hook(name: str) -> pytest.MarkDecorator:
    return of_chapter(f"`{name}(")


# Every block


@pytest.mark.parametrize("block", [block for block in PYTHON if block not in CENSOR], ids=str)
def test_a_block_is_a_module_that_keeps_the_contracts(block: Block, tmp_path: Path) -> None:
    module = imported(block, tmp_path)
    for value in vars(module).values():
        if inspect.isclass(value) and issubclass(value, Filter) and value.__module__ == module.__name__:
            PluginManager().registry.register(Kind.FILTER, value, "guide")
    if any(name in HOOKS for name in vars(module)):
        PluginManager().register(module, "guide")


def test_every_hook_has_a_chapter_with_its_arguments_and_an_example() -> None:
    for name in HOOKS:
        arguments = ", ".join(inspect.signature(getattr(hookspecs, name)).parameters)
        assert f"`{name}({arguments})`" in headings(AUTHORS), name
        assert any(f"@hookimpl\ndef {name}(" in block.text for block in PYTHON), name


def test_every_callback_is_mentioned() -> None:
    text = (ROOT / AUTHORS).read_text()
    for name, value in vars(Filter).items():
        if not name.startswith("_") and (callable(value) or isinstance(value, classmethod)):
            assert f"`{name}(" in text, name


def test_everything_that_a_connection_can_do_is_mentioned() -> None:
    text = (ROOT / AUTHORS).read_text()
    names = [name for name in vars(Conn) if not name.startswith("_")]
    assert not [name for name in names if f"`{name}`" not in text and f"conn.{name}" not in text]


def test_the_tests_of_the_page_pass(tmp_path: Path) -> None:
    tests = [block for block in PYTHON if block.heading == "Testing"]
    for at, block in enumerate(tests):
        (tmp_path / f"test_{at}.py").write_text(block.text)
    (tmp_path / "conftest.py").write_text("from l4proxy.pytest_plugin import proxy")  # as an installed l4proxy has it
    said = run("pytest", "-q", "-p", "no:cacheprovider", "--rootdir=.", cwd=tmp_path, env=environment())
    assert f"{sum(block.text.count('def test_') for block in tests)} passed" in said


# From nothing to an installed filter


def environment(*paths: Path) -> dict[str, str]:
    """For a child that finds the same l4proxy as we do, and packages below ``paths``."""
    ours = Path(l4proxy.__path__[0]).parent
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [*paths, ours])), "PYTHONDONTWRITEBYTECODE": "1"}


def run(*argv: str, cwd: Path, env: dict[str, str] | None = None, status: int = 0) -> str:
    done = subprocess.run([sys.executable, "-m", *argv], cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == status, f"{argv}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def test_from_nothing_to_an_installed_filter(tmp_path: Path) -> None:
    """What the first chapter says, step by step, with pip installing into a directory of its own."""
    typed = [shlex.split(command) for _, command in commands(AUTHORS)]
    assert [words for words in typed if words[:2] == ["l4proxy", "new-plugin"]] == [["l4proxy", "new-plugin", "censor"]]
    run("l4proxy", "new-plugin", "censor", cwd=tmp_path, env=environment())
    package, site = tmp_path / "l4proxy-censor", tmp_path / "site"
    for block, name in zip(CENSOR, ("l4proxy_censor.py", "tests/test_censor.py"), strict=True):
        assert (package / name).exists(), "the generator calls its files otherwise"
        (package / name).write_text(block.text)
    entry = blocks(AUTHORS, "ini")[0].text
    assert entry in (package / "pyproject.toml").read_text()
    offline = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    run("pip", "install", *offline, "--target", str(site), str(package), cwd=tmp_path)

    run("pytest", "-q", "-p", "no:cacheprovider", "tests", cwd=package, env=environment(site))
    assert re.search(r"\bcensor\b", run("l4proxy", "plugins", cwd=tmp_path, env=environment(site)))
    for word, status in (("explain censor", 0), ("wrod", 2)):
        (shown,) = (block.text for block in blocks(AUTHORS, "console") if word in block.text)
        command, _, output = shown.partition("\n")
        assert run(*shlex.split(command)[1:], cwd=tmp_path, env=environment(site), status=status) == output


def test_the_censored_text_does_not_depend_on_where_it_is_cut(tmp_path: Path) -> None:
    """Also for words that overlap themselves."""
    censor = imported(CENSOR[0], tmp_path).Censor
    for word in ("a", "ab", "aa", "aba", "abab"):
        for text in map(bytes, itertools.product(b"ab", repeat=6)):
            wanted = text.replace(word.encode(), b"*" * len(word))
            for size in (1, 2, 5):
                h = harness(censor, word=word)
                h.client.send(*(text[at : at + size] for at in range(0, len(text), size)))
                h.client.eof()
                assert h.upstream.received == wanted


# What the examples do


@of_chapter("Sending")
def test_greet(module: ModuleType) -> None:
    h = harness(module.Greet)
    h.client.send(b"an", b"n\nmo", b"re")
    assert (h.client.received, h.upstream.received) == (b"welcome\n", b"ann\nmore")
    h = harness(module.Greet)
    h.client.send(b"a" * 101)
    assert h.closed == CloseReason("filter", "relay", "no_name", "greet")


@pytest.mark.parametrize(("name", "script"), [
    ("Slowly", {"client": [b"a"], "expect_upstream": b"a", "seconds": 2}),
    ("AskFirst", {"client": [b"one"], "expect_upstream": b"one", "seconds": 1}),
    ("Greet", {"client": [b"ann\n", b"more"], "expect_upstream": b"ann\nmore", "expect_client": b"welcome\n"}),
    ("Meter", {"client": [b"GET a\nPUT b\n"], "expect_upstream": b"GET a\nPUT b\n"}),
    ("Sizes", {"client": [b"ab"], "upstream": [b"cd"], "expect_upstream": b"ab", "expect_client": b"cd"}),
    ("Tap", {"client": [b"ab"], "upstream": [b"cd"], "expect_upstream": b"ab", "expect_client": b"cd"}),
])  # fmt: skip
def test_examples_do_the_same_however_bytes_arrive(name: str, script: dict[str, Any], tmp_path: Path) -> None:
    block = next(block for block in PYTHON if f"class {name}(" in block.text)
    check_filter(getattr(imported(block, tmp_path), name), **script)


@pytest.mark.parametrize(("host", "reason"), [("192.0.2.7", None), ("203.0.113.7", "not_agreed")])
def test_ask_first(host: str, reason: str | None, tmp_path: Path) -> None:
    asking = next(block for block in PYTHON if "class AskFirst" in block.text)
    h = harness(imported(asking, tmp_path).AskFirst, info=PeekInfo((host, 40000), ("192.0.2.1", 80)))
    h.client.send(b"one", b" and more")
    assert h.upstream.received == b""
    h.advance(0.6)
    assert h.upstream.received == (b"" if reason else b"one and more")
    assert (h.closed and h.closed.detail) == reason


@of_chapter("Options")
def test_every_option_can_be_written(module: ModuleType) -> None:
    h = harness(module.Every, cluster="a", token="t", rate="10MiB/s", networks=["10.0.0.0/8"], ports=[443, "8000-8999"])
    assert h.filters[0].config.rate == 10 * 1024 * 1024
    with pytest.raises(ConfigError, match="token: the strict mode needs one"):
        harness(module.Every, cluster="a")


@of_chapter("Statistics")
def test_meter(module: ModuleType) -> None:
    h = harness(module.Meter)
    h.client.send(b"one\ntw", b"o\nthr")
    h.client.reset()
    snapshot = h.stats.snapshot()
    assert snapshot["l4proxy_meter_lines_total"]["samples"] == [{"labels": [], "value": 2}]
    by_client = snapshot["l4proxy_meter_connections_total"]["samples"]
    assert by_client == [{"labels": ["198.51.100.1"], "value": 1}]
    assert snapshot["l4proxy_meter_sent_bytes"]["samples"][0]["value"] == {"counts": [1, 0, 0, 0], "sum": 11}
    assert h.connection.state["meter:lines"] == 2


@of_chapter("Understanding")
def test_lines(module: ModuleType, plugins: PluginManager) -> None:
    script = [(Side.CLIENT, b"GET a\nPUT b\n"), (Side.UPSTREAM, b"1\nERR\n")]
    seen = [("GET", "", {"asked": "a"}), ("PUT", "ERR", {"asked": "b"})]
    check_inspector(module.LinesInspector, script, expect=seen, bad=[b"x" * 2000])
    assert plugins.registry.find(Kind.INSPECTOR, "lines") is module.LinesInspector
    check_filter(module.LinesObserver, client=[b"GET a\n"], expect_upstream=b"GET a\n")


@of_hook("register_inspectors")
def test_register_inspectors(module: ModuleType) -> None:
    check_inspector(module.Raw, [(Side.CLIENT, b"a" * 10), (Side.UPSTREAM, b"b" * 10)], expect=[])


@of_chapter("Watching")
def test_tap(module: ModuleType) -> None:
    h = harness(module.Tap)
    h.client.send(b"a", b"b")
    h.upstream.send(b"c")
    assert (h.upstream.received, h.client.received) == (b"ab", b"c")
    assert h.connection.state == {"tap:client": b"b", "tap:upstream": b"c"}


@of_chapter("Many chunks")
def test_sizes(module: ModuleType) -> None:
    h = harness(module.Sizes)
    sizes = h.filters[0].bytes  # type: ignore[attr-defined]
    h.client.send(b"a", b"b")
    h.upstream.send(b"c")
    assert (h.upstream.received, h.client.received) == (b"ab", b"c")
    assert list(sizes.values()) == [2, 1]


@of_chapter("Terminal")
def test_reverse(module: ModuleType) -> None:
    h = harness(module.Reverse)
    h.client.send(b"abc\nde", b"f\n")
    assert h.client.received == b"cba\nfed\n"
    h.client.eof()
    assert str(h.closed) == "filter:eof:reverse phase=relay"
    h = harness(module.Reverse)
    h.client.send(b"x" * 65537)
    assert str(h.closed) == "filter:line_too_long:reverse phase=relay"


# What the hooks' examples do


def talk(
    config: dict[str, Any], plugins: PluginManager, conversation: Callable[[Server], Coroutine[Any, Any, None]]
) -> None:
    async def run() -> None:
        async with serve(config, plugins=plugins) as server:
            await conversation(server)

    asyncio.run(run())


async def say(server: Server, text: bytes, listener: str = "l") -> bytes:
    """What a client is answered that sends ``text`` and no more."""
    (address,) = server.addresses[listener]
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(text)
    writer.write_eof()
    try:
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def listener(**options: Any) -> dict[str, Any]:
    return {"name": "l", "address": "127.0.0.1:0", **options}


@of_hook("register_filters")
def test_register_filters(plugins: PluginManager) -> None:
    async def conversation(server: Server) -> None:
        assert await say(server, b"hello") == b"HELLO"

    talk({"listeners": [listener(filters=["shout", "echo"])]}, plugins, conversation)


@of_hook("register_message_filters")
def test_register_message_filters(module: ModuleType) -> None:
    from line_protocol import Line

    line = Line(module.Refuse)
    line._deliver = lambda response: line.client.append(type(response).__name__)  # type: ignore[method-assign]
    line.chain._deliver = line._deliver
    line.send("DELETE a", "GET b")
    assert line.upstream == ["GET b"]
    assert line.client == ["Response"]


@of_hook("register_matchers")
def test_register_matchers(module: ModuleType, plugins: PluginManager) -> None:
    check_matcher(lambda: module.Prefix("SSH-"), yes=[b"SSH-2.0-client"], no=[b"GET / HTTP/1.1", b"SSL"])
    chains = [{"match": {"prefix": "up"}, "filters": ["echo"]}, {"filters": [{"use": "direct_response", "text": "no"}]}]

    async def conversation(server: Server) -> None:
        assert await say(server, b"upward") == b"upward"
        assert await say(server, b"u") == await say(server, b"down") == b"no"

    talk({"listeners": [listener(filter_chains=chains)]}, plugins, conversation)


@of_hook("register_preambles")
def test_register_preambles(plugins: PluginManager) -> None:
    async def conversation(server: Server) -> None:
        assert await say(server, b"sesame\nhello") == b"hello"
        assert await say(server, b"seed\nhello") == b""
        assert server.listeners[0].stats.refused_total["wrong_knock"] == 1

    config = {"listeners": [listener(preambles=[{"use": "knock", "word": "sesame"}], filters=["echo"])]}
    talk(config, plugins, conversation)


def proxied(cluster: dict[str, Any]) -> dict[str, Any]:
    """``l`` in front of a cluster, and an echo that listens beside it, at ``echo``."""
    echo = {"name": "echo", "address": cluster.pop("echo", "127.0.0.1:0"), "filters": ["echo"]}
    use = {"use": "tcp_proxy", "cluster": "c", "max_connect_attempts": 2}
    return {"listeners": [listener(filters=[use]), echo], "clusters": [{"name": "c", **cluster}]}


@of_hook("register_load_balancers")
def test_register_load_balancers(plugins: PluginManager, tmp_path: Path) -> None:
    paths = [f"unix:{tmp_path}/{name}" for name in "cab"]

    async def conversation(server: Server) -> None:
        for _ in range(3):
            assert await say(server, b"hello") == b"hello"
        (cluster,) = server.clusters
        used = {endpoint.name for endpoint in cluster.endpoints.current.values() if endpoint.stats.connections_total}
        assert used == {paths[1]}

    talk(proxied({"endpoints": paths, "load_balancer": "first", "echo": paths}), plugins, conversation)


@of_hook("register_health_checks")
def test_register_health_checks(plugins: PluginManager, tmp_path: Path) -> None:
    check = {"use": "memcached", "interval": "10ms"}

    async def conversation(server: Server) -> None:
        (cluster,) = server.clusters
        (endpoint,) = cluster.endpoints.current.values()
        while endpoint.health_problem != "it does not say its version":
            await asyncio.sleep(0.01)

    path = f"unix:{tmp_path}/echo"
    talk(proxied({"endpoints": [path], "health_check": check, "echo": path}), plugins, conversation)


@of_hook("register_discovery")
def test_register_discovery(plugins: PluginManager, tmp_path: Path) -> None:
    async def conversation(server: Server) -> None:
        (cluster,) = server.clusters
        while not cluster.endpoints.current:
            await asyncio.sleep(0.05)
        assert await say(server, b"hello") == b"hello"

    discovery = {"use": "sockets", "directory": str(tmp_path)}
    talk(proxied({"discovery": discovery, "echo": f"unix:{tmp_path}/a.sock"}), plugins, conversation)


@of_hook("register_access_loggers")
def test_register_access_loggers(plugins: PluginManager) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(30)
        logger = {"use": "udp", "address": f"127.0.0.1:{receiver.getsockname()[1]}"}

        async def conversation(server: Server) -> None:
            await say(server, b"hello")

        talk({"listeners": [listener(filters=["echo"])], "access_log": [logger]}, plugins, conversation)
        record = json.loads(receiver.recv(65536))
        assert (record["listener"], record["bytes_received"], record["close_reason"]) == ("l", 5, "eof")


@of_hook("register_stats_sinks")
def test_register_stats_sinks(module: ModuleType, plugins: PluginManager, tmp_path: Path) -> None:
    file = tmp_path / "l4proxy.prom"

    async def conversation(server: Server) -> None:
        sink = module.Textfile(module.TextfileConfig(str(file)))
        await sink.push(server.stats.snapshot(), {})

    sinks = [{"use": "textfile", "path": str(file)}]
    talk({"listeners": [listener(filters=["echo"])], "stats_sinks": sinks}, plugins, conversation)
    assert 'l4proxy_listener_connections_total{listener="l"} 0' in file.read_text()


@of_hook("register_commands")
def test_register_commands(module: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "ports.py").write_text(Path(str(module.__file__)).read_text())
    config = tmp_path / "l4proxy.toml"
    config.write_text('[[listeners]]\naddress = ["127.0.0.1:1", "[::1]:1"]\nfilters = ["echo"]\n')
    assert main(["--plugin-dir", str(tmp_path / "plugins"), "ports", str(config)]) == 0
    assert capsys.readouterr().out == "127.0.0.1:1\n[::1]:1\n"


@of_hook("load_config")
def test_load_config(plugins: PluginManager, tmp_path: Path) -> None:
    (tmp_path / "services.ini").write_text("[web]\nlisten = :8080\nto = 10.0.0.1:80\n")
    config = load_file(tmp_path / "services.ini", plugins.registry, load_config=plugins.load_config)
    assert [str(config.listeners[0].address), str(config.clusters[0].endpoints[0].address)] == [":8080", "10.0.0.1:80"]


@of_hook("make_event_loop")
def test_make_event_loop(plugins: PluginManager) -> None:
    loop = plugins.make_event_loop()
    assert loop is not None
    assert loop.get_debug()
    loop.close()


@of_hook("config_loaded")
def test_config_loaded(plugins: PluginManager) -> None:
    config: dict[str, Any] = {"listeners": [listener(filters=["echo"])]}
    with pytest.raises(ConfigError, match="listener l has no access log"):
        plugins.config_loaded(load_mapping(config, plugins.registry))
    plugins.config_loaded(load_mapping({**config, "access_log": ["file"]}, plugins.registry))


@of_hook("shutdown")
def test_startup_and_shutdown(module: ModuleType, plugins: PluginManager, tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    module.PATH = str(file)  # type: ignore[attr-defined]

    async def conversation(server: Server) -> None:
        assert json.loads(file.read_text()) == {"l": [str(server.addresses["l"][0])]}

    talk({"listeners": [listener(filters=["echo"])]}, plugins, conversation)
    assert not file.exists()
