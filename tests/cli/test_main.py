from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import l4proxy as package
from l4proxy.cli.main import COMMANDS

PLUGIN = """
from l4proxy import Command, hookimpl

class Greet(Command):
    '''Say good day.

    As often as it is asked to.
    '''
    name = "greet"

    def add_arguments(self, parser):
        parser.add_argument("--times", type=int, default=1)

    def run(self, args, plugins):
        print("good day " * args.times)
        return 3

@hookimpl
def register_commands(register):
    register(Greet)
"""


@pytest.fixture
def plugins(tmp_path: Path) -> str:
    """A directory with a plugin that brings a command, called like one of ours."""
    directory = tmp_path / "tcp"
    directory.mkdir()
    (directory / "greet.py").write_text(PLUGIN)
    return str(directory)


def test_without_a_command_it_says_what_there_is(l4proxy: Any) -> None:
    status, out, err = l4proxy()
    assert (status, out) == (2, "")
    assert err.startswith("usage: l4proxy COMMAND ...\n")


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"]])
def test_help(l4proxy: Any, words: list[str]) -> None:
    status, out, err = l4proxy(*words)
    assert (status, err) == (0, "")
    assert "  tcp          Proxy a TCP service, without a configuration file.\n" in out
    listed = [line.split()[0] for line in out.splitlines() if line.startswith("  ")]
    assert [name for name in listed if name in COMMANDS] == list(COMMANDS)
    assert listed[:3] == ["tcp", "forward", "http"], "those of plugins stand behind the first one"
    assert "--plugin-dir DIR" in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_in_80_columns(l4proxy: Any, name: str) -> None:
    status, out, err = l4proxy(name, "--help")
    assert (status, err) == (0, "")
    assert out.startswith(f"usage: l4proxy {name} ")
    assert "--disable-plugin NAME" in out
    assert max(map(len, out.splitlines())) <= 80
    assert l4proxy("help", name) == (0, out, "")


def test_version(l4proxy: Any) -> None:
    status, out, err = l4proxy("--version")
    assert (status, err) == (0, "")
    assert out == f"l4proxy {package.__version__} (Python {sys.version.split()[0]})\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tpc"], "error: there is no command 'tpc' (did you mean 'tcp'?)\n"),
        (["help", "tpc"], "error: there is no command 'tpc' (did you mean 'tcp'?)\n"),
        (
            ["--use", "x", "tcp"],
            "error: --use stands before the command: options of a command stand behind it\n",
        ),
        (
            ["tcp", "--ues", "x", ":1", "a:1"],
            "error: there is no option --ues (did you mean '--use'?)\n  l4proxy tcp --help tells more\n",
        ),
        (
            ["tcp", "--acces-log=-", ":1", "a:1"],
            "error: there is no option --acces-log (did you mean '--access-log'?)\n  l4proxy tcp --help tells more\n",
        ),
        (
            ["tcp", ":1"],
            "error: the following arguments are required: UPSTREAM\n  l4proxy tcp --help tells more\n",
        ),
        (
            ["tcp", ":1", "a:1", "--workers", "2", "b:2"],
            "error: 'b:2' is one argument too many (the arguments of a kind stand together)\n"
            "  l4proxy tcp --help tells more\n",
        ),
        (
            ["check", "--plugin-dir"],
            "error: argument --plugin-dir: expected one argument\n  l4proxy --help tells more\n",
        ),
        (["check", "f", "--plugin-dir", "nix"], "error: --plugin-dir nix: no such directory\n"),
        (["check", "f", "--disable-plugin", "nix"], "error: --disable-plugin: there is no plugin 'nix'"),
        (["tcp", "--adm", "x", ":1", "a:1"], "error: there is no option --adm (did you mean '--admin'?)\n"),
    ],
)
def test_wrong_use_ends_with_status_2(l4proxy: Any, words: list[str], message: str) -> None:
    status, out, err = l4proxy(*words)
    assert (status, out) == (2, "")
    assert err.startswith(message)


@pytest.mark.parametrize(
    "words",
    [
        ["--plugin-dir", "DIR", "greet", "--times", "2"],
        ["greet", "--plugin-dir", "DIR", "--times", "2"],
        ["greet", "--times", "2", "--plugin-dir=DIR"],
        ["--plugin-dir=DIR", "greet", "--times=2"],
    ],
)
def test_common_options_stand_before_or_behind_the_command(l4proxy: Any, plugins: str, words: list[str]) -> None:
    """The directory is called like a command: what belongs to an option is not taken for it."""
    assert l4proxy(*(word.replace("DIR", plugins) for word in words)) == (3, "good day good day \n", "")


def test_a_plugins_command_is_listed_and_explained(l4proxy: Any, plugins: str) -> None:
    assert "  greet        Say good day.\n" in l4proxy("--help", "--plugin-dir", plugins).out
    assert "As often as it is asked to." in l4proxy("help", "greet", "--plugin-dir", plugins).out
    assert "did you mean 'greet'?" in l4proxy("gret", "--plugin-dir", plugins).err


def test_a_disabled_plugin_brings_nothing(l4proxy: Any, plugins: str) -> None:
    assert l4proxy("greet", "--plugin-dir", plugins, "--disable-plugin", "greet").status == 2


def test_a_broken_plugin_stops_what_needs_it_and_no_help(l4proxy: Any, plugins: str) -> None:
    (Path(plugins) / "broken.py").write_text("import nothing_like_that")
    options = ["--plugin-dir", plugins]
    for words in (["greet"], ["unknown"]):
        status, out, err = l4proxy(*words, *options)
        assert (status, out) == (2, "")
        assert err.startswith("error: plugin 'broken' (")
        assert "  start without it: --disable-plugin broken\n" in err
    assert l4proxy("greet", "--help", *options).status == 0
    status, out, err = l4proxy("--help", *options)
    assert status == 0
    assert "greet" in out
    assert "nothing_like_that" in err


def test_control_characters_do_not_reach_the_terminal(l4proxy: Any) -> None:
    assert "\x1b" not in l4proxy("\x1b[2Jtcp").err


def python(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)


def test_only_the_command_that_is_asked_for_is_imported() -> None:
    done = python("""
        import sys
        from l4proxy.cli.main import main
        assert main(["--version"]) == 0
        assert "l4proxy.plugin_manager" not in sys.modules and "asyncio" not in sys.modules
        assert main(["tcp", "127.0.0.1:0", "a:1", "--use", "nix"]) == 2
        loaded = {name.rpartition(".")[2] for name in sys.modules if name.startswith("l4proxy.cli.")}
        assert loaded == {"command", "main", "options", "parser", "quick", "run", "use"}, loaded
        heavy = {"kafka", "construct", "http", "ssl", "importlib.metadata", "email"} & set(sys.modules)
        assert heavy <= {"ssl"}, heavy  # asyncio imports it
        """)
    assert "unknown filter 'nix'" in done.stderr


def test_a_reader_that_leaves_early_is_no_error() -> None:
    command = f"{sys.executable} -m l4proxy schema | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (1, "{\n", "")


def test_the_module_is_the_console_script() -> None:
    done = subprocess.run([sys.executable, "-m", "l4proxy", "nix"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: there is no command 'nix'")
