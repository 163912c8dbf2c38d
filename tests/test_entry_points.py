from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from l4proxy.entry_points import EntryPoint, entry_points


def install(
    root: Path, directory: str, entries: str, *, metadata: str = "Name: Acme-Shout\nVersion: 2.1\n\nName: body\n"
) -> None:
    """Lay out a distribution's metadata as pip leaves it."""
    folder = root / directory
    folder.mkdir(parents=True)
    (folder / "entry_points.txt").write_text(entries)
    if metadata:
        (folder / ("PKG-INFO" if directory.endswith(".egg-info") else "METADATA")).write_text(metadata)


@pytest.mark.parametrize("group", ["console_scripts", "pytest11", "l4proxy", "nobody"])
def test_it_finds_what_importlib_metadata_finds(group: str) -> None:
    expected = {
        (entry.name, entry.value, entry.dist.name, entry.dist.version)
        for entry in importlib.metadata.entry_points(group=group)
        if entry.dist is not None
    }
    found = {
        (entry.name, entry.module + (f":{entry.attr}" if entry.attr else ""), entry.distribution, entry.version)
        for entry in entry_points(group)
    }
    assert found == expected


def test_a_group_among_others(tmp_path: Path) -> None:
    text = """\
[console_scripts]
shout = nope:main

[l4proxy]
# a comment = here
shout=acme_shout
shout.er = acme.shout : Plugin.best [x]
[z]
a=b
"""
    install(tmp_path, "acme_shout-2.1.dist-info", text)
    assert entry_points("l4proxy", [str(tmp_path)]) == [
        EntryPoint("shout", "acme_shout", "", "Acme-Shout", "2.1"),
        EntryPoint("shout.er", "acme.shout", "Plugin.best", "Acme-Shout", "2.1"),
    ]


@pytest.mark.parametrize("directory", ["acme_shout.egg-info", "acme_shout-2.1-py3.11.egg-info"])
def test_eggs(tmp_path: Path, directory: str) -> None:
    install(tmp_path, directory, "[l4proxy]\nshout = acme_shout\n")
    assert entry_points("l4proxy", [str(tmp_path)]) == [EntryPoint("shout", "acme_shout", "", "Acme-Shout", "2.1")]


def test_without_metadata_the_directory_says_what_it_is(tmp_path: Path) -> None:
    install(tmp_path, "acme_shout-2.1.dist-info", "[l4proxy]\nshout = acme_shout\n", metadata="")
    assert entry_points("l4proxy", [str(tmp_path)]) == [EntryPoint("shout", "acme_shout", "", "acme_shout", "2.1")]


def test_the_first_on_the_path_counts(tmp_path: Path) -> None:
    install(tmp_path / "a", "Acme.Shout-3.dist-info", "[l4proxy]\nshout = new\n", metadata="")
    install(tmp_path / "b", "acme_shout-2.dist-info", "[l4proxy]\nshout = old\n", metadata="")
    assert [e.module for e in entry_points("l4proxy", [str(tmp_path / "a"), str(tmp_path / "b")])] == ["new"]
    assert [e.module for e in entry_points("l4proxy", [str(tmp_path / "b"), str(tmp_path / "a")])] == ["old"]


def test_what_is_on_a_path_and_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "packages.zip").write_bytes(b"PK")
    (tmp_path / "odd.dist-info").write_bytes(b"a file")
    paths = [str(tmp_path / "packages.zip"), str(tmp_path / "missing"), str(tmp_path)]
    assert entry_points("l4proxy", paths) == []
