from __future__ import annotations

import json
import tomllib
from collections.abc import Callable

from l4proxy.config import Config, dump, load_mapping
from l4proxy.config.structure import structure
from l4proxy.config.text import toml_text
from l4proxy.registry import Registry

FULL = """
workers = "auto"
access_log = [{ use = "file", path = "/var/log/access.log" }]

[admin]
token = "hunter2"

[[listeners]]
address = ["127.0.0.1:0", "unix:@abstract"]
peek_timeout = "1m30s"
[[listeners.filter_chains]]
match = { source = ["10.0.0.0/8", "::1"], ssh = true }
[[listeners.filter_chains.filters]]
use = "gate"
on_error = "bypass"
wait = "250ms"
limit = "10MB"
rate = "1MiB/s"
share = "12.5%"
ports = ["80-90", 443]
networks = ["192.0.2.0/24"]
level = "high"
tries = "endless"
timeout = "5s"
weights = { a = 1, "b c" = 2 }
routes = ["/a", { prefix = "/b", cluster = "db" }]
[[listeners.filter_chains.filters]]
use = "forward"
cluster = "db"
retry = { use = "ring", size = 7 }

[[listeners.filter_chains]]
filters = ["echo"]

[[clusters]]
name = "db"
endpoints = ["db.example:5432", { address = "[::1]:5432", weight = 2 }]
"""


def test_what_was_dumped_can_be_loaded(load: Callable[..., Config], registry: Registry) -> None:
    config = load(FULL.replace('token = "hunter2"', ""))
    assert load_mapping(dump(config), registry) == config


def test_a_dump_is_json_and_toml(load: Callable[..., Config]) -> None:
    dumped = dump(load(FULL))
    assert json.loads(json.dumps(dumped)) == dumped
    assert tomllib.loads(f"x = {toml_text(dumped)}") == {"x": dumped}


def test_values_are_written_as_people_write_them(load: Callable[..., Config]) -> None:
    dumped = dump(load(FULL))
    listener = dumped["listeners"][0]
    gate = listener["filter_chains"][0]["filters"][0]
    assert listener["address"] == ["127.0.0.1:0", "unix:@abstract"]
    assert listener["peek_timeout"] == "1m30s"
    assert listener["buffer_limit"] == "64KiB"
    assert listener["filter_chains"][0]["match"] == {"source": ["10.0.0.0/8", "::1/128"], "ssh": True}
    assert gate["use"] == "gate"
    assert (gate["rate"], gate["share"], gate["ports"], gate["level"]) == ("1MiB/s", "12.5%", ["80-90", "443"], "high")
    assert (gate["tries"], gate["on_error"]) == ("endless", "bypass")
    assert dumped["clusters"][0]["load_balancer"] == {"use": "round_robin"}


def test_secrets_are_not_shown(load: Callable[..., Config]) -> None:
    dumped = dump(load(FULL))
    assert dumped["admin"]["token"] == "****"
    assert "hunter2" not in json.dumps(dumped)


def test_what_is_none_is_left_out(load: Callable[..., Config]) -> None:
    dumped = dump(load(FULL))
    assert "metrics_address" not in dumped["admin"]
    assert "access_log" not in dumped["listeners"][0]


def test_a_part_can_be_dumped(load: Callable[..., Config], registry: Registry) -> None:
    cluster = load(FULL).clusters[0]
    assert structure(type(cluster), dump(cluster), registry=registry) == cluster
