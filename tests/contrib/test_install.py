"""Third-party packages are installed by pip into a clean virtual environment and found there through entry points.

Nothing is downloaded: what they depend on is copied from the environment that runs this test.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from l4proxy.new_plugin import new_plugin
from services.needs import program
from services.postgres import PostgresServer
from source_tree import ROOT

CONTRIB = sorted(path.parent for path in (ROOT / "contrib").glob("*/pyproject.toml"))
PLUGINS = {
    "l4proxy-kafka-mask": "kafka-mask",
    "l4proxy-limit-upload": "limit_upload",
    "l4proxy-max-value": "max-value",
    "l4proxy-postgres": "postgres",
    "l4proxy-shout": "shout",
    "l4proxy-teapot": "teapot",
    "l4proxy-uvloop": "uvloop",
}
GENERATED = "l4proxy-gate-keeper"


def run(*argv: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run([str(word) for word in argv], cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{argv}\n{done.stdout}{done.stderr}"
    return done.stdout


def copy_distribution(name: str, site: Path, done: set[str]) -> None:
    """Copy an installed distribution, and what it requires, as pip left it."""
    if name in done:
        return
    done.add(name)
    distribution = importlib.metadata.distribution(name)
    for file in distribution.files or ():
        source = Path(str(distribution.locate_file(file)))
        if ".." not in file.parts and "__pycache__" not in file.parts and source.is_file():
            (site / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, site / file)
    for requirement in distribution.requires or ():
        if ";" not in requirement:
            copy_distribution(re.split(r"[^\w.-]", requirement)[0], site, done)


def source_of_l4proxy(copy: Path) -> Path:
    """A copy of what the wheel is built from: a build leaves files behind."""
    for path in ROOT.iterdir():
        if path.name in ("l4proxy", "plugins", "protocols"):
            shutil.copytree(path, copy / path.name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.is_file() and not path.name.startswith("."):
            shutil.copy(path, copy)
    return copy


class Environment:
    """A clean virtual environment with l4proxy and every package of ``contrib``; ``sources`` are copies of these."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.python = root / "venv" / "bin" / "python"
        venv.create(root / "venv", with_pip=False)
        (site,) = (root / "venv" / "lib").glob("python*/site-packages")
        done: set[str] = set()
        for name in ("construct", "kafka-python", "pluggy", "uvloop", "pytest"):
            copy_distribution(name, site, done)
        new_plugin("gate-keeper", root)
        self.sources = {GENERATED: root / GENERATED}
        for package in CONTRIB:
            copy = root / "contrib" / package.name
            shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
            self.sources[_name_in(copy)] = copy
        (root / "l4proxy").mkdir()
        self.install(source_of_l4proxy(root / "l4proxy"), *self.sources.values())

    def install(self, *sources: Path) -> None:
        offline = ["--quiet", "--no-index", "--no-deps"]
        wheels = self.root / "wheels"
        run(
            sys.executable,
            "-m",
            "pip",
            "wheel",
            *offline,
            "--no-build-isolation",
            "-w",
            wheels,
            *sources,
            cwd=self.root,
        )
        run(
            sys.executable,
            "-m",
            "pip",
            "--python",
            self.python,
            "install",
            *offline,
            *wheels.glob("*.whl"),
            cwd=self.root,
        )


def _name_in(package: Path) -> str:
    match = re.search(r'^name = "(.*)"', (package / "pyproject.toml").read_text(), re.MULTILINE)
    assert match is not None
    return match[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("install"))


def test_plugins_are_found_through_their_entry_points(installed: Environment) -> None:
    script = """
import dataclasses, json
from l4proxy.plugin_manager import load_plugins
print(json.dumps([dataclasses.asdict(plugin) for plugin in load_plugins().plugins()]))
"""
    plugins = {plugin["name"]: plugin for plugin in json.loads(run(installed.python, "-c", script, cwd=installed.root))}
    for distribution, name in {**PLUGINS, GENERATED: "gate_keeper"}.items():
        assert (plugins[name]["distribution"], plugins[name]["loaded"]) == (distribution, True)
    assert plugins["shout"]["registered"] == ["filter shout"]
    assert plugins["uvloop"]["hooks"] == ["make_event_loop"]
    assert plugins["echo"]["distribution"] == "l4proxy"


def test_what_they_depend_on_is_said(installed: Environment) -> None:
    run(sys.executable, "-m", "pip", "--python", installed.python, "check", cwd=installed.root)


@pytest.mark.parametrize("name", [GENERATED, *(_name_in(package) for package in CONTRIB)])
def test_each_package_passes_its_own_tests(installed: Environment, name: str) -> None:
    run(installed.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", cwd=installed.sources[name])


def test_the_postgres_observer_watches_a_real_server(installed: Environment, postgres: PostgresServer) -> None:
    psql, pgbench = Path(program("psql")), Path(program("pgbench"))
    path = os.pathsep.join([str(psql.parent), str(pgbench.parent), os.environ.get("PATH", "")])
    env = {**postgres.environment(), "PATH": path}
    pytest_words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_server.py"]
    assert "skipped" not in run(installed.python, *pytest_words, cwd=installed.sources["l4proxy-postgres"], env=env)


def test_an_installed_filter_runs(installed: Environment) -> None:
    """Through the installed package alone, on the loop that the installed plugin brings."""
    script = """
import asyncio, l4proxy
from l4proxy.plugin_manager import load_plugins
from l4proxy.server import serve

CONFIG = {"listeners": [{"name": "a", "address": "127.0.0.1:0", "filters": ["shout", "echo"]}]}

async def talk():
    async with serve(CONFIG) as server:
        (address,) = server.addresses["a"]
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(b"hello")
        writer.write_eof()
        print((await reader.read()).decode(), type(asyncio.get_running_loop()).__module__, l4proxy.__file__)
        writer.close()

with asyncio.Runner(loop_factory=load_plugins().make_event_loop) as runner:
    runner.run(talk())
"""
    answer, loop, file = run(installed.python, "-c", script, cwd=installed.root).split()
    assert (answer, loop) == ("HELLO", "uvloop")
    assert Path(file).is_relative_to(installed.root / "venv")
