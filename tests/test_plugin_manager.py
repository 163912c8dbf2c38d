from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import l4proxy
from l4proxy.errors import ConfigError, PluginError
from l4proxy.filter import Filter, NoConfig
from l4proxy.hookspecs import hookimpl
from l4proxy.plugin_manager import PluginManager, load_plugins
from l4proxy.registry import Kind

SHOUT = """
from l4proxy import Filter, NoConfig, hookimpl

class Shout(Filter[NoConfig]):
    name = "{filter}"

    def {callback}(self, data):
        return data.upper()

@hookimpl
def {hook}(register):
    register(Shout)
"""


def shout(filter: str = "shout", callback: str = "on_client_data", hook: str = "register_filters") -> str:
    return SHOUT.format(filter=filter, callback=callback, hook=hook)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Install a distribution of one module, as pip would."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    modules: list[str] = []

    def install(distribution: str, plugin: str, text: str) -> None:
        module = distribution.replace("-", "_")
        modules.append(module)
        (site / f"{module}.py").write_text(text)
        info = site / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[l4proxy]\n{plugin} = {module}\n")

    yield install
    for module in modules:
        sys.modules.pop(module, None)


def load(**options: Any) -> PluginManager:
    return load_plugins(environ={}, **options)


def refusal(**options: Any) -> str:
    with pytest.raises(PluginError) as caught:
        load(**options)
    return str(caught.value)


def test_first_party_plugins_are_imported_when_they_are_named() -> None:
    program = """
        import sys
        from l4proxy.plugin_manager import load_plugins
        from l4proxy.registry import Kind
        plugins = load_plugins(environ={"L4PROXY_LOAD_PLUGINS": ""})
        imported = lambda: sorted(name for name in sys.modules if name.startswith("l4proxy.p") and name.count(".") > 1)
        assert not imported(), imported()
        assert plugins.registry.find(Kind.FILTER, "echo").name == "echo"
        assert imported() == ["l4proxy.plugins.echo"], imported()
        heavy = {"kafka", "construct", "importlib.metadata", "http", "email"} & set(sys.modules)
        assert not heavy, heavy
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True)


def test_an_installed_plugin(install: Callable[..., None]) -> None:
    install("l4proxy-shout", "shout", shout())
    plugins = load()
    assert plugins.registry.find(Kind.FILTER, "shout").__module__ == "l4proxy_shout"
    (info,) = [info for info in plugins.plugins() if info.name == "shout"]
    assert (info.distribution, info.version, info.source) == ("l4proxy-shout", "1.0", "l4proxy_shout")
    assert info.loaded
    assert info.hooks == ("register_filters",)
    assert info.registered == ("filter shout",)


def test_a_plugin_that_nobody_named_yet_is_listed() -> None:
    (info,) = [info for info in load().plugins() if info.name == "echo"]
    assert (info.distribution, info.version, info.loaded) == ("l4proxy", l4proxy.__version__, False)
    assert info.hooks == ("register_filters",)
    assert info.registered == ("filter echo",)


def test_a_file_in_a_plugin_directory(tmp_path: Path) -> None:
    (tmp_path / "shout.py").write_text(shout())
    plugins = load(plugin_dirs=[tmp_path])
    assert plugins.registry.names_of("shout") == [(Kind.FILTER, "shout")]
    (info,) = [info for info in plugins.plugins() if info.name == "shout"]
    assert (info.distribution, info.version, info.source) == ("", "", str(tmp_path / "shout.py"))


def test_only_some_of_the_installed_plugins(install: Callable[..., None]) -> None:
    install("l4proxy-shout", "shout", shout())
    install("l4proxy-broken", "broken", "import nowhere_to_be_found")
    plugins = load_plugins(environ={"L4PROXY_LOAD_PLUGINS": " shout ,"})
    assert plugins.registry.names_of("shout")
    assert "broken" not in plugins.sources
    assert "shout" not in load_plugins(environ={"L4PROXY_LOAD_PLUGINS": ""}).sources
    with pytest.raises(
        PluginError, match=r"L4PROXY_LOAD_PLUGINS: there is no plugin 'shot' \(did you mean 'shout'\?\)"
    ):
        load_plugins(environ={"L4PROXY_LOAD_PLUGINS": "shot"})


def test_a_disabled_plugin_is_not_imported(install: Callable[..., None]) -> None:
    install("l4proxy-broken", "broken", "import nowhere_to_be_found")
    assert "cannot be imported" in refusal()
    plugins = load(disabled=["broken", "echo"])
    assert not {"broken", "echo"} & {info.name for info in plugins.plugins()}
    with pytest.raises(LookupError, match="unknown filter 'echo'"):
        plugins.registry.find(Kind.FILTER, "echo")


def test_a_plugin_that_is_not_there_cannot_be_disabled() -> None:
    assert refusal(disabled=["ecko"]) == "--disable-plugin: there is no plugin 'ecko' (did you mean 'echo'?)"


def test_two_plugins_with_one_name(install: Callable[..., None]) -> None:
    install("l4proxy-shout", "shout", shout())
    install("acme-shout", "shout", shout())
    message = refusal()
    assert "two plugins are called 'shout'" in message
    assert "acme_shout of acme-shout 1.0 and l4proxy_shout of l4proxy-shout 1.0" in message
    assert "shout" not in {info.name for info in load(disabled=["shout"]).plugins()}


def test_a_plugin_with_the_name_of_a_first_party_one(install: Callable[..., None]) -> None:
    install("acme-echo", "echo", shout())
    assert "two plugins are called 'echo': l4proxy.plugins.echo of l4proxy" in refusal()


def test_two_filters_with_one_name(install: Callable[..., None]) -> None:
    install("l4proxy-shout", "shout", shout())
    install("acme-loud", "loud", shout())
    message = refusal()
    assert "filter Shout (" in message
    assert "acme_loud.py:4)" in message or "l4proxy_shout.py:4)" in message
    assert "the name 'shout' is taken by plugin" in message


def test_a_filter_with_the_name_of_a_first_party_one_that_is_not_imported(install: Callable[..., None]) -> None:
    install("acme-echo", "acme", shout(filter="echo"))
    assert "the name 'echo' is taken by plugin 'echo'" in refusal()


def test_a_misspelt_hook(install: Callable[..., None]) -> None:
    install("l4proxy-shout", "shout", shout(hook="register_filter"))
    message = "there is no hook register_filter (did you mean 'register_filters'?)"
    assert refusal() == f"plugin 'shout' (l4proxy_shout of l4proxy-shout 1.0): {message}"


def test_a_misspelt_callback(install: Callable[..., None]) -> None:
    install("l4proxy-shout", "shout", shout(callback="on_client_date"))
    message = refusal()
    assert message.startswith("plugin 'shout': filter Shout (")
    assert "l4proxy_shout.py:4): on_client_date is not a callback (did you mean 'on_client_data'?)" in message


def test_the_error_is_raised_on_the_plugins_own_line(install: Callable[..., None]) -> None:
    install("l4proxy-shout", "shout", shout(callback="on_client_date"))
    with pytest.raises(PluginError) as caught:
        load()
    frames = {
        (entry.path.name if isinstance(entry.path, Path) else entry.path, entry.lineno) for entry in caught.traceback
    }
    assert ("l4proxy_shout.py", 11) in frames


def test_a_misspelt_argument_of_a_hook(install: Callable[..., None]) -> None:
    install("l4proxy-shout", "shout", shout().replace("(register)", "(registr)"))
    message = refusal()
    assert message.startswith("plugin 'shout' (l4proxy_shout of l4proxy-shout 1.0): ")
    assert "registr" in message


def test_a_hook_that_raises(install: Callable[..., None]) -> None:
    install("l4proxy-shout", "shout", shout().replace("register(Shout)", "1 / 0"))
    assert "plugin 'shout' (l4proxy_shout of l4proxy-shout 1.0): ZeroDivisionError" in refusal()


def test_an_object_can_be_registered_late() -> None:
    class Late(Filter[NoConfig]):
        name = "late"

    class Plugin:
        @hookimpl
        def register_filters(self, register: Any) -> None:
            assert register(Late) is Late

    plugins = load()
    plugins.register(Plugin(), "late")
    assert plugins.registry.find(Kind.FILTER, "late") is Late
    with pytest.raises(PluginError, match="two plugins are called 'late'"):
        plugins.register(Plugin(), "late")


def test_the_first_plugin_that_can_reads_the_configuration_and_makes_the_loop(tmp_path: Path) -> None:
    class Yaml:
        @hookimpl
        def load_config(self, path: Path) -> dict[str, str] | None:
            return {"read": path.name} if path.suffix == ".yaml" else None

        @hookimpl
        def make_event_loop(self) -> str:
            return "a loop"

    plugins = load()
    assert plugins.make_event_loop() is None
    assert plugins.load_config(tmp_path / "a.yaml") is None
    plugins.register(Yaml(), "yaml")
    assert plugins.load_config(tmp_path / "a.yaml") == {"read": "a.yaml"}
    assert plugins.load_config(tmp_path / "a.toml") is None
    assert plugins.make_event_loop() == "a loop"  # type: ignore[comparison-overlap]


class Events:
    """A plugin that listens to everything, and fails where it is told to."""

    def __init__(self, log: list[str], fails: Exception | None = None) -> None:
        self.log = log
        self.fails = fails

    def _note(self, event: str) -> None:
        self.log.append(event)
        if self.fails:
            raise self.fails

    @hookimpl
    def config_loaded(self, config: Any) -> None:
        self._note(f"config_loaded {config}")

    @hookimpl
    def startup(self, server: Any) -> None:
        self._note(f"startup {server}")

    @hookimpl
    def shutdown(self) -> None:
        self._note("shutdown")


def test_every_plugin_hears_of_configurations_and_servers() -> None:
    log: list[str] = []
    plugins = load()
    plugins.register(Events(log), "one")
    plugins.register(Events(log), "two")
    server: Any = "server"
    config: Any = "config"
    plugins.config_loaded(config)
    plugins.startup(server)
    plugins.shutdown(server)
    assert log == ["config_loaded config"] * 2 + ["startup server"] * 2 + ["shutdown"] * 2


def test_a_plugin_refuses_a_configuration() -> None:
    plugins = load()
    plugins.register(Events([], ValueError("no listener on port 80, please")), "fussy")
    with pytest.raises(ConfigError, match="refused by plugin 'fussy': no listener on port 80, please"):
        plugins.config_loaded(SimpleNamespace())  # type: ignore[arg-type]


def test_a_plugin_that_cannot_start_is_named() -> None:
    plugins = load()
    plugins.register(Events([], OSError("no licence")), "fussy")
    with pytest.raises(PluginError, match="plugin 'fussy': startup failed: OSError: no licence"):
        plugins.startup(SimpleNamespace())  # type: ignore[arg-type]


def test_a_shutdown_that_fails_keeps_nobody_from_theirs(caplog: pytest.LogCaptureFixture) -> None:
    log: list[str] = []
    plugins = load()
    plugins.register(Events(log), "first")
    plugins.register(Events(log, KeyError("oops")), "bad")
    plugins.shutdown(SimpleNamespace())  # type: ignore[arg-type]
    assert log == ["shutdown", "shutdown"]
    assert "plugin 'bad': shutdown failed" in caplog.text


def test_a_trace_shows_imports_and_hooks(install: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    install("l4proxy-shout", "shout", shout())
    load_plugins(environ={"L4PROXY_TRACE_PLUGINS": "0"})
    assert capsys.readouterr().err == ""
    load_plugins(environ={"L4PROXY_TRACE_PLUGINS": "1"})
    trace = capsys.readouterr().err
    assert "imported shout (l4proxy_shout of l4proxy-shout 1.0) in " in trace
    assert "register_filters [hook]" in trace


def test_broken_plugins_can_be_kept_apart(install: Callable[..., None]) -> None:
    install("l4proxy-good", "good", shout("good"))
    install("l4proxy-bad", "bad", "import nothing_like_that")
    install("l4proxy-worse", "worse", shout("worse", hook="register_filter"))
    plugins = load(keep_broken=True)
    assert sorted(plugins.broken) == ["bad", "worse"]
    problems = {info.name: info.problem for info in plugins.plugins() if info.name in ("good", "bad", "worse")}
    assert problems["good"] == ""
    assert "nothing_like_that" in problems["bad"]
    assert "there is no hook register_filter" in problems["worse"]
    assert "good" in plugins.registry.names(Kind.FILTER)
    with pytest.raises(PluginError, match=r"(?s)nothing_like_that.*register_filter"):
        plugins.require_all()


def test_of_two_plugins_with_one_name_neither_is_kept(install: Callable[..., None]) -> None:
    install("l4proxy-one", "twin", shout("one"))
    install("l4proxy-two", "twin", shout("two"))
    plugins = load(keep_broken=True)
    assert "two plugins are called 'twin'" in str(plugins.broken["twin"])
    assert not {"one", "two"} & set(plugins.registry.names(Kind.FILTER))
