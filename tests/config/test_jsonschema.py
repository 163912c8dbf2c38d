from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l4proxy.config import Config, dump, load_mapping
from l4proxy.config.jsonschema import json_schema
from l4proxy.errors import ConfigError
from l4proxy.filter import Filter
from l4proxy.registry import Kind, Registry

jsonschema = pytest.importorskip("jsonschema")

LISTENER = '[[listeners]]\naddress = ":80"\nfilters = ["echo"]\n'
GATE = '[[listeners]]\naddress = [":80", "unix:/x"]\nfilters = [{ use = "gate", %s }, "echo"]\n'
CHAIN = '[[listeners]]\naddress = ":80"\n[[listeners.filter_chains]]\nfilters = ["echo"]\nmatch = %s\n'
CLUSTER = LISTENER + '[[clusters]]\nname = "a"\n%s\n'
GOOD = [
    LISTENER,
    GATE % 'wait = 0, ports = [1, "2-3"]',
    GATE % 'on_error = "bypass", tries = "endless", weights = { a = 1 }',
    CHAIN % "{ ssh = true }",
    CLUSTER % 'endpoints = ["a:1", { address = "b:1" }]',
    CLUSTER % 'discovery = "dns"\nload_balancer = "ring"\ntls = {}',
    'workers = "auto"\n[admin]\ntoken = "x"\n' + LISTENER,
    'workers = "${UNSET:-2}"\nlog_level = "${UNSET:-info}"\ndrain_time = "${UNSET:-5s}"\n' + LISTENER,
    LISTENER + 'nodelay = "${UNSET:-true}"',
]
BAD = [
    "",
    "listeners = 5",
    LISTENER.replace("echo", "ech"),
    LISTENER.replace("address", "adress"),
    LISTENER.replace("echo", "forward"),
    LISTENER + "backlog = 0",
    GATE % 'wait = "5 s"',
    GATE % "wait = 5",
    GATE % 'wiat = "5s"',
    CHAIN % "{ shh = true }",
    'log_level = "inof"\n' + LISTENER,
]


@pytest.fixture(scope="module")
def validator(sample_registry: Registry) -> Any:
    schema = json_schema(Config, sample_registry)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("text", GOOD)
def test_what_can_be_loaded_is_valid(text: str, validator: Any, load: Callable[..., Config]) -> None:
    config = load(text)
    validator.validate(tomllib.loads(text))
    validator.validate(dump(config))


@pytest.mark.parametrize("text", BAD)
def test_what_is_not_valid_cannot_be_loaded(text: str, validator: Any, load: Callable[..., Config]) -> None:
    assert not validator.is_valid(tomllib.loads(text))
    with pytest.raises(ConfigError):
        load(text)


def nodes(raw: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a document, as a container and a key or index."""
    for key, value in list(raw.items() if isinstance(raw, dict) else enumerate(raw)):
        yield raw, key
        if isinstance(value, dict | list):
            yield from nodes(value)


WORDS = st.sampled_from(
    ["echo", "gate", "5s", "1KiB", "10%", ":80", "off", "1.2", "${HOME}", "${", "", "high", "a.pem"]
)
ANYTHING = st.recursive(
    WORDS | st.text(max_size=3) | st.integers(-9, 99) | st.floats() | st.booleans() | st.none() | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.sampled_from(["use", "file"]), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(data=st.data())
def test_whatever_is_written_is_loaded_or_refused(
    data: st.DataObject, sample_registry: Registry, validator: Any
) -> None:
    """Nothing but ConfigError is raised, and what is loaded is valid to the schema."""
    document = data.draw(st.sampled_from(GOOD).map(tomllib.loads))
    for _ in range(data.draw(st.integers(1, 3))):
        container, key = data.draw(st.sampled_from(list(nodes(document))))
        container[key] = data.draw(ANYTHING)
    try:
        config = load_mapping(document, sample_registry)
    except ConfigError:
        return
    assert validator.is_valid(dump(config))
    assert load_mapping(dump(config), sample_registry) == config or config.admin
    assert validator.is_valid(document)


def test_a_schema_is_plain_json(registry: Registry) -> None:
    schema = json_schema(Config, registry)
    assert json.loads(json.dumps(schema)) == schema


def test_options_are_documented(registry: Registry) -> None:
    definitions = json_schema(Config, registry)["$defs"]
    cluster = definitions["Cluster"]
    assert cluster["description"] == "Servers that do the same, and how connections to them are made."
    assert cluster["required"] == ["name"]
    assert cluster["properties"]["connect_timeout"]["default"] == "5s"
    assert cluster["properties"]["name"]["description"] == "What filters call it."
    assert cluster["properties"]["load_balancer"]["default"] == "round_robin"
    gate = next(
        one for one in definitions["filter"]["anyOf"] if one.get("properties", {}).get("use") == {"const": "gate"}
    )
    assert gate["description"] == "Let some clients in."
    assert gate["properties"]["wait"]["description"] == "How long to wait before the gate opens."


def test_two_plugins_may_call_their_options_the_same(registry: Registry) -> None:
    definitions = json_schema(Config, registry)["$defs"]
    assert definitions["Route"]["required"] == ["prefix"]

    @dataclass(frozen=True)
    class Route:
        """Of another plugin."""

        path: str
        then: tuple[Any, ...] = ()

    @dataclass(frozen=True)
    class Options:
        routes: tuple[Any, ...] = ()

    Options.__annotations__["routes"] = tuple[Route, ...]

    class Other(Filter[Options]):
        name = "other"

    registry.register(Kind.FILTER, Other, "other")
    definitions = json_schema(Config, registry)["$defs"]
    assert sorted(name for name in definitions if name.endswith("Route")) == ["Route", f"{__name__}.Route"]


def test_a_kind_without_plugins_cannot_be_used(validator: Any) -> None:
    document = tomllib.loads('stats_sinks = ["statsd"]\n' + GOOD[0])
    assert not validator.is_valid(document)


def test_every_example_of_a_bad_configuration_that_is_refused_for_its_form(validator: Any) -> None:
    for name in ("unknown_key", "missing_key", "numbers", "no_listeners"):
        text = (Path(__file__).parent / "bad" / f"{name}.toml").read_text()
        assert not validator.is_valid(tomllib.loads(text))
