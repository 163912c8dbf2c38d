from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from l4proxy.address import Address
from l4proxy.config import Config, load_file, load_mapping
from l4proxy.config.schema import Cluster, EndpointConfig, Listener
from l4proxy.config.types import Use
from l4proxy.errors import ConfigError
from l4proxy.registry import Registry

MAPPING = {
    "listeners": [{"address": "127.0.0.1:0", "name": "front", "filters": [{"use": "forward", "cluster": "db"}]}],
    "clusters": [{"name": "db", "endpoints": ["127.0.0.1:5432"]}],
}
TEXT = """
[[listeners]]
address = "127.0.0.1:0"
name = "front"
filters = [{ use = "forward", cluster = "db" }]

[[clusters]]
name = "db"
endpoints = ["127.0.0.1:5432"]
"""
OBJECTS = Config(
    listeners=(Listener(Address("127.0.0.1", 0), name="front", filters=(Use("forward", {"cluster": "db"}),)),),
    clusters=(Cluster("db", endpoints=(EndpointConfig(Address("127.0.0.1", 5432)),)),),
)


def test_three_ways_to_the_same_configuration(tmp_path: Path, registry: Registry) -> None:
    (tmp_path / "proxy.toml").write_text(TEXT)
    config = load_file(tmp_path / "proxy.toml", registry)
    assert config == load_mapping(MAPPING, registry) == load_mapping(OBJECTS, registry)
    assert config.listeners[0].filters[0].config.cluster == "db"


def test_other_formats(tmp_path: Path, registry: Registry) -> None:
    (tmp_path / "proxy.yaml").touch()
    config = load_file(str(tmp_path / "proxy.yaml"), registry, load_config=lambda path: MAPPING)
    assert config == load_mapping(MAPPING, registry)


@pytest.mark.parametrize("config", [MAPPING | {"clusters": []}, Config(OBJECTS.listeners)])
def test_the_whole_is_checked_too(config: Config, registry: Registry) -> None:
    with pytest.raises(ConfigError, match=r"^listeners\[0\]\.filters\[0\]\.cluster: there is no cluster 'db'$"):
        load_mapping(config, registry)


def test_findings_have_lines(tmp_path: Path, registry: Registry) -> None:
    (tmp_path / "proxy.toml").write_text(TEXT.replace('cluster = "db"', 'cluster = "dbb"'))
    with pytest.raises(ConfigError, match=r"proxy\.toml:5: listeners\[0\]\.filters\[0\]\.cluster: .*'db'"):
        load_file(tmp_path / "proxy.toml", registry)


def test_what_is_only_for_errors_and_pages_is_not_imported(tmp_path: Path) -> None:
    """A configuration without mistakes is loaded without the modules that explain mistakes."""
    (tmp_path / "proxy.toml").write_text(TEXT.replace("forward", "tcp_proxy"))
    script = """
import sys
from l4proxy.config import load_file
from l4proxy.plugin_manager import PluginManager
before = set(sys.modules)
load_file(sys.argv[1], PluginManager().registry)
print(*sys.modules.keys() - before, *(name for name in sys.modules if name.startswith("l4proxy.config")))
"""
    command = [sys.executable, "-c", script, str(tmp_path / "proxy.toml")]
    loaded = set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    assert {"l4proxy.config.schema", "tomllib"} <= loaded
    assert not {"ipaddress", "json", "hmac", "ast"} & loaded
    assert not {f"l4proxy.config.{name}" for name in ("lines", "docs", "jsonschema", "reference")} & loaded
