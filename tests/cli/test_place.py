from __future__ import annotations

import pytest

from l4proxy.cli.main import main
from l4proxy.cli.place import check_places
from l4proxy.errors import ConfigError
from l4proxy.plugin_manager import load_plugins
from l4proxy.registry import Registry


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_plugins(environ={"L4PROXY_LOAD_PLUGINS": ""}).registry


@pytest.mark.parametrize(
    ("protocol", "option", "text", "cause"),
    [
        ("http", "use", "cors:origins=[{}]", "'cors' is a message filter: write --http cors:origins=[{}]"),
        ("redis", "use", "block", "'block' is a message filter: write --redis block"),
        ("redis", "use", "auht:file=a", "unknown filter 'auht' (did you mean --redis auth:file=a?)"),
        ("kafka", "use", "quotas", "unknown filter 'quotas' (did you mean --kafka quota?)"),
        ("kafka", "kafka", "rbac:name=x", "'rbac' is a filter of bytes: write --use rbac:name=x"),
        ("kafka", "kafka", "kafka_prox", "unknown filter 'kafka_prox' (did you mean --use kafka_proxy?)"),
        (
            "redis",
            "use",
            "fault:error=no,commands=[GET]",
            "these are options of a message filter that is called so, too: write --redis fault:error=no,commands=[GET]",
        ),
        (
            "kafka",
            "kafka",
            "fault:reset_after_upload=1MB",
            "these are options of a filter of bytes that is called so, too: write --use fault:reset_after_upload=1MB",
        ),
    ],
)
def test_a_filter_in_the_wrong_place(registry: Registry, protocol: str, option: str, text: str, cause: str) -> None:
    uses, own = ([text], []) if option == "use" else ([], [text])
    with pytest.raises(ConfigError) as caught:
        check_places(protocol, uses, own, registry)
    assert str(caught.value) == f"--{option} {text}: {cause}"


def test_filters_in_their_place(registry: Registry) -> None:
    uses = ["fault:connect_delay=1s", "fault:nonsense=1", "fault", "nonsense", "tcp_prox"]
    check_places("redis", uses, ["fault:delay=1s", "blok", "fault:nonsense=1"], registry)


def test_a_command_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    for protocol, name in (("redis", "block"), ("kafka", "quota"), ("http", "cors")):
        assert main([protocol, "127.0.0.1:0", "127.0.0.1:1", "--use", name]) == 2
        said = f"error: --use {name}: {name!r} is a message filter: write --{protocol} {name}\n"
        assert capsys.readouterr().err == said
