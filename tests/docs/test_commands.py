"""What a reader is told to type, on any page: commands of l4proxy are run, those that serve until they would."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from docs.pages import AUTHORS, OPERATORS, PAGES, Block, blocks, commands
from l4proxy import Config
from l4proxy.cli.main import COMMANDS, main
from l4proxy.plugins.sniff.run import Run
from l4proxy.process import Launch
from services.certs import Certs
from source_tree import ROOT

SERVE = {"tcp", "http", "forward", "redis", "kafka", "run"}
TYPED = sorted(
    {
        (page, command)
        for page in PAGES
        for _, command in commands(page)
        if Path(command.split()[0]).name == "l4proxy" and "wrod" not in command
    }
)


@pytest.fixture
def here(tmp_path: Path, certs: Certs, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with what the commands name: configurations, certificates, the README's filter; beside them a plugin
    that the reader has installed."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(certs.server.cert, "cert.pem")
    shutil.copy(certs.server.key, "key.pem")
    Path("l4proxy.toml").write_text(blocks(OPERATORS, "toml")[0].text)
    Path("kafka.toml").write_text(blocks("contrib/guides/kafka.md", "toml")[0].text)
    Path("redis.toml").write_text(blocks("contrib/guides/redis-watch.md", "toml")[0].text)
    Path("filters").mkdir()
    Path("filters/shout.py").write_text(blocks("README.md", "python")[0].text)
    Path("installed").mkdir()
    Path("installed/censor.py").write_text(blocks(AUTHORS, "python")[0].text)
    return tmp_path


@pytest.mark.parametrize(("page", "command"), TYPED)
def test_a_command_is_understood(page: str, command: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[Config] = []

    def run_process(launch: Launch) -> int:
        served.append(launch.load(launch.read()))
        return 0

    async def look(run: Run) -> int:
        return 0

    monkeypatch.setattr("l4proxy.cli.run.run_process", run_process)
    monkeypatch.setattr(Run, "main", look)
    words = shlex.split(command)[1:]
    if "censor" in command and words[0] != "new-plugin":
        words += ["--plugin-dir", "installed"]
    assert main(words) == 0
    assert bool(served) == (words[0] in SERVE)


def test_every_command_is_mentioned() -> None:
    text = "".join((ROOT / page).read_text() for page in PAGES)
    assert not [name for name in COMMANDS if f"l4proxy {name}" not in text]


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for page in PAGES:
        for _, command in commands(page):
            if command.startswith("make "):
                assert f"\n{command.split()[1]}:" in makefile


@pytest.mark.parametrize("block", [block for page in PAGES for block in blocks(page, "sh")], ids=str)
def test_a_script_is_a_script(block: Block) -> None:
    subprocess.run(["sh", "-n"], input=block.text, text=True, check=True)


def test_files_that_commands_name_exist() -> None:
    text = "".join(block.text for page in PAGES for language in ("sh", "console") for block in blocks(page, language))
    named = set(re.findall(r"(?:contrib|tests)/[\w./-]+", text))
    assert len(named) > 5
    assert not [name for name in named if not (ROOT / name).exists()]
