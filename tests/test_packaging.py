"""What is in the repository is in the wheel, under the names that DESIGN gave it, and nothing else is."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import l4proxy
from source_tree import PACKAGES, ROOT, module_name, modules

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = {"contrib", "l4proxy", "plugins", "protocols", "tests"}
FILES = {
    "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md", "pyproject.toml",
}  # fmt: skip
MADE_BY_TOOLS = re.compile(r"\..*|build|dist|.*\.egg-info|__pycache__")


def test_the_top_level_is_as_planned() -> None:
    present = {path for path in ROOT.iterdir() if not MADE_BY_TOOLS.fullmatch(path.name)}
    assert {path.name for path in present if path.is_dir()} <= FOLDERS
    assert {path.name for path in present if not path.is_dir()} <= FILES


def test_every_package_is_listed() -> None:
    found = {module_name(path) for package in PACKAGES for path in modules(package) if path.name == "__init__.py"}
    assert sorted(PYPROJECT["tool"]["setuptools"]["packages"]) == sorted(found)


def test_every_directory_with_modules_is_a_package() -> None:
    directories = {path.parent for package in PACKAGES for path in modules(package)}
    assert not [str(directory) for directory in directories if not (directory / "__init__.py").exists()]


def test_the_run_time_dependencies_are_three() -> None:
    names = [re.split(r"[^\w-]", requirement)[0] for requirement in PYPROJECT["project"]["dependencies"]]
    assert names == ["construct", "kafka-python", "pluggy"]
    assert "optional-dependencies" not in PYPROJECT["project"]


@pytest.mark.parametrize("name", ["plugins", "protocols"])
def test_the_links_lead_out_of_the_package_or_are_absent(name: str) -> None:
    """Absent, or a file that holds the target: what git makes of them on a file system without links."""
    link = ROOT / "l4proxy" / name
    assert link.is_symlink() or not link.is_dir()
    if link.is_symlink():
        assert str(link.readlink()) == f"../{name}"


@pytest.mark.parametrize("name", ["plugins", "protocols"])
def test_a_package_has_one_name(name: str) -> None:
    """Under a second name every class in it would be there twice, and no isinstance would hold."""
    done = subprocess.run([sys.executable, "-c", f"import {name}"], cwd=ROOT, capture_output=True, text=True)
    assert f"ImportError: import this package as l4proxy.{name}" in done.stderr


def test_a_clone_runs_without_installing_it() -> None:
    script = "import l4proxy, l4proxy.plugins, l4proxy.protocols; print(l4proxy.__file__)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == str(ROOT / "l4proxy" / "__init__.py")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built from a copy: a build leaves files behind that a later one would pick up."""
    copy = tmp_path_factory.mktemp("source")
    for name in ["l4proxy", "plugins", "protocols"]:
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.iterdir():
        if path.name in FILES:
            shutil.copy(path, copy)
    argv = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(copy / "dist"), str(copy)]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return zipfile.ZipFile(next((copy / "dist").glob("*.whl")))


def test_the_wheel_holds_every_file(wheel: zipfile.ZipFile) -> None:
    expected = set()
    for package, directory in PACKAGES.items():
        for path in directory.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                expected.add(str(Path(*package.split("."), path.relative_to(directory))))
    assert "l4proxy/py.typed" in expected
    held = {name for name in wheel.namelist() if not name.startswith(f"l4proxy-{l4proxy.__version__}.dist-info/")}
    assert held == expected


def test_the_wheel_says_what_it_is(wheel: zipfile.ZipFile) -> None:
    metadata = f"l4proxy-{l4proxy.__version__}.dist-info"
    assert f"{metadata}/licenses/LICENSE" in wheel.namelist()
    entry_points = configparser.ConfigParser()
    entry_points.read_string(wheel.read(f"{metadata}/entry_points.txt").decode())
    assert dict(entry_points["console_scripts"]) == {"l4proxy": "l4proxy.__main__:main"}
    assert dict(entry_points["pytest11"]) == {"l4proxy": "l4proxy.pytest_plugin"}
