from __future__ import annotations

from collections.abc import Callable
from typing import Any

from l4proxy import Filter, NoConfig, PluginManager, Register, hookimpl
from l4proxy.config import load_mapping
from l4proxy.config.remarks import remarks
from l4proxy.config.schema import Listener


class Says(Filter[NoConfig]):
    """Says where it stands."""

    name = "says"
    terminal = True

    @classmethod
    def placed(cls, config: NoConfig, listener: Listener, remark: Callable[[str], object]) -> NoConfig:
        if listener.exposed:
            remark(f"at {listener.name}")
        return config


class Plugin:
    @hookimpl
    def register_filters(self, register: Register[Any]) -> None:
        register(Says)


def test_each_place_is_asked_and_what_it_says_has_its_path() -> None:
    plugins = PluginManager()
    plugins.register(Plugin(), "test")
    chains = [{"match": {"port": [80]}, "filters": ["says"]}, {"filters": ["says"]}]
    config = {
        "listeners": [
            {"address": "127.0.0.1:80", "filters": ["says"]},
            {"address": ":81", "filters": ["says"]},
            {"address": ":82", "filter_chains": chains},
        ]
    }
    assert remarks(load_mapping(config, plugins.registry)) == [
        ("listeners[1].filters[0]", "at :81"),
        ("listeners[2].filter_chains[0].filters[0]", "at :82"),
        ("listeners[2].filter_chains[1].filters[0]", "at :82"),
    ]
