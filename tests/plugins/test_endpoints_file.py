from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from clusters import Runtime, config, fails, run, running, until
from l4proxy.cluster import Cluster
from l4proxy.errors import ConfigError


def cluster_of(runtime: Runtime, path: Path) -> Cluster:
    return runtime.cluster(discovery={"use": "endpoints_file", "path": str(path), "interval": "100ms"})


def replace(path: Path, text: str) -> None:
    """Write a file as careful programs do: another one takes its name."""
    path.with_suffix(".new").write_text(text)
    os.replace(path.with_suffix(".new"), path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("e.toml", 'endpoints = ["127.0.0.1:1", { address = "127.0.0.1:2", weight = 5 }]'),
        ("e.json", json.dumps({"endpoints": ["127.0.0.1:1", {"address": "127.0.0.1:2", "weight": 5}]})),
    ],
)
def test_both_formats_are_known_at_once(name: str, text: str, tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / name).write_text(text)
        async with running() as runtime:
            cluster = cluster_of(runtime, tmp_path / name)
            assert cluster.ready
            known = {one.name: one.weight for one in cluster.endpoints.current.values()}
            assert known == {"127.0.0.1:1": 1, "127.0.0.1:2": 5}

    run(main)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "e.toml"
        path.write_text('endpoints = ["127.0.0.1:1"]')
        async with running() as runtime:
            cluster = cluster_of(runtime, path)
            for text, expected in [
                ('endpoints = ["127.0.0.1:2"]', {"127.0.0.1:2"}),
                ('endpoints = ["127.0.0.1:2", "localhost:3"]', {"127.0.0.1:2", "localhost:3"}),
                ('endpoints = ["localhost:3"]', {"localhost:3"}),
                ("endpoints = []", set()),
                ('endpoints = ["127.0.0.1:4"]', {"127.0.0.1:4"}),
            ]:
                replace(path, text)
                await until(lambda: set(cluster.endpoints.current) == expected)  # noqa: B023

    run(main)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("endpoints = [", "Invalid value"),
        ('endpoints = ["127.0.0.1"]', "endpoints[0]: '127.0.0.1' has no port"),
        ('endpionts = ["127.0.0.1:1"]', "endpoints"),
        ("", "endpoints"),
        ("#" * (5 << 20), "is larger than 4194304 bytes"),
    ],
)
def test_bad_content_keeps_the_endpoints_and_is_shown(text: str, problem: str, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "e.toml"
        path.write_text('endpoints = ["127.0.0.1:1"]')
        async with running() as runtime:
            cluster = cluster_of(runtime, path)
            replace(path, text)
            await until(lambda: cluster.discovery.problem)
            assert problem in cluster.discovery.problem
            assert cluster.discovery.problem.startswith(f"{path}: ")
            assert set(cluster.endpoints.current) == {"127.0.0.1:1"}
            replace(path, 'endpoints = ["127.0.0.1:2"]')
            await until(lambda: set(cluster.endpoints.current) == {"127.0.0.1:2"})
            assert cluster.discovery.problem == ""

    run(main)


def test_a_file_that_goes_and_comes(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "e.toml"
        async with running() as runtime:
            cluster = cluster_of(runtime, path)
            error = await fails(cluster)
            assert str(error) == f"cluster c has no endpoint: cannot read {path}: No such file or directory"
            path.write_text('endpoints = ["127.0.0.1:1"]')
            await until(lambda: cluster.endpoints.current)
            path.unlink()
            await until(lambda: cluster.discovery.problem)
            assert set(cluster.endpoints.current) == {"127.0.0.1:1"}
            path.write_text('endpoints = ["127.0.0.1:1"]')
            await until(lambda: not cluster.discovery.problem)

    run(main)


def test_a_file_that_is_the_same_is_not_read_again(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "e.toml"
        path.write_text('endpoints = ["127.0.0.1:1"]')
        async with running() as runtime:
            cluster = cluster_of(runtime, path)
            assert cluster.discovery._read() is False  # type: ignore[attr-defined]
            assert cluster.discovery.updates == 1
            path.write_text('endpoints = [ "127.0.0.1:1" ]')
            assert cluster.discovery._read() is False  # type: ignore[attr-defined]
            assert cluster.discovery.updates == 2

    run(main)


def test_endpoints_in_the_configuration_are_refused(tmp_path: Path) -> None:
    async def main() -> None:
        use = {"use": "endpoints_file", "path": "e.toml"}
        with pytest.raises(ConfigError, match=r"endpoints: this cluster's endpoints stand in .*e\.toml; write them"):
            Runtime().clusters.prepare([config("127.0.0.1:1", discovery=use)])

    run(main)
