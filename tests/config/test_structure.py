from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from l4proxy.address import Address
from l4proxy.config.schema import Cluster, Config, Listener
from l4proxy.config.structure import EnvironmentText, complete, structure
from l4proxy.config.types import (
    ClusterName,
    Duration,
    MatchTable,
    Network,
    Plugin,
    PortRange,
    Range,
    Secret,
    Size,
    Use,
    UseFilter,
)
from l4proxy.errors import ConfigError, PluginError
from l4proxy.filter import Filter
from l4proxy.registry import Kind, Registry


@dataclass(frozen=True)
class Inner:
    short_form = "name"

    name: str
    size: Size = Size(1)


@dataclass(frozen=True)
class Other:
    kind: Literal["other"]
    deep: tuple[int, ...]


@dataclass(frozen=True)
class Everything:
    text: str = "t"
    number: int = 1
    ratio: float = 1.0
    flag: bool = False
    wait: Duration = Duration(0)
    ports: tuple[PortRange, ...] = ()
    networks: frozenset[Network] = frozenset()
    names: list[str] = field(default_factory=list)
    table: dict[str, Size] = field(default_factory=dict)
    inner: Inner | None = None
    either: Inner | Other | None = None
    workers: Annotated[int, Range(1)] | Literal["auto"] = 1
    addresses: Address | tuple[Address, ...] = ()
    anything: Any = None
    filters: tuple[UseFilter, ...] = ()
    match: MatchTable = ()


def read(registry: Registry, **raw: Any) -> Everything:
    return structure(Everything, raw, registry=registry)


def problems(registry: Registry, **raw: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(registry, **raw)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("key", "raw", "value"),
    [
        ("text", "x", "x"),
        ("number", -3, -3),
        ("ratio", 2, 2.0),
        ("flag", True, True),
        ("wait", "5s", 5.0),
        ("ports", [80, "90-99"], (PortRange(80, 80), PortRange(90, 99))),
        ("networks", ["10.0.0.0/8"], frozenset({ip_network("10.0.0.0/8")})),
        ("names", ["a", "b"], ["a", "b"]),
        ("names", ("a",), ["a"]),
        ("table", {"a": "1KiB", "b c": 5}, {"a": 1024, "b c": 5}),
        ("inner", {"name": "x", "size": "2B"}, Inner("x", Size(2))),
        ("inner", "x", Inner("x")),
        ("inner", None, None),
        ("either", {"kind": "other", "deep": [1]}, Other("other", (1,))),
        ("either", {"name": "x"}, Inner("x")),
        ("workers", 2, 2),
        ("workers", "auto", "auto"),
        ("addresses", ":80", Address("", 80)),
        ("addresses", [":80", "unix:/x"], (Address("", 80), Address(path="/x"))),
        ("anything", {"a": [1, None]}, {"a": [1, None]}),
        ("addresses", Address("", 80), Address("", 80)),
        ("inner", Inner("x"), Inner("x")),
    ],
)
def test_values(registry: Registry, key: str, raw: Any, value: Any) -> None:
    read_value = getattr(read(registry, **{key: raw}), key)
    assert read_value == value
    assert type(read_value) is type(value)


def test_what_is_not_given_has_its_default(registry: Registry) -> None:
    assert read(registry) == Everything()


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [("number", "12", 12), ("ratio", "0.5", 0.5), ("flag", "true", True), ("flag", "false", False), ("wait", "5s", 5.0),
     ("workers", "4", 4), ("workers", "auto", "auto"), ("text", "12", "12"), ("addresses", ":80", Address("", 80))],
)  # fmt: skip
def test_text_from_the_environment_may_stand_for_numbers(registry: Registry, key: str, text: str, value: Any) -> None:
    read_value = getattr(read(registry, **{key: EnvironmentText(text)}), key)
    assert read_value == value
    assert type(read_value) is type(value)


def test_of_several_tables_the_one_that_fits_best_is_meant(registry: Registry) -> None:
    assert problems(registry, either={"kind": "other", "deep": ["x"]}) == [
        'either.deep[0]: expected a whole number, such as 5, found "x"'
    ]
    assert problems(registry, either={"name": 5}) == ['either.name: expected text, found the number 5 (write "5")']


def test_everything_that_is_wrong_is_said(registry: Registry) -> None:
    assert len(problems(registry, text=1, number="x", nothing=1, ports=["x", "y"], inner={"size": "x"})) == 7


def test_the_path_begins_where_it_is_told_to(registry: Registry) -> None:
    with pytest.raises(ConfigError, match=r"^gate\.text: "):
        structure(Everything, {"text": 1}, path="gate", registry=registry)
    with pytest.raises(ConfigError, match=r"^gate: expected a table"):
        structure(Everything, [], path="gate", registry=registry)


class TestUse:
    def test_a_name_alone(self, registry: Registry) -> None:
        (use,) = read(registry, filters=["echo"]).filters
        assert (use.name, use.on_error, use.path) == ("echo", "close", "filters[0]")
        assert use.cls is registry.find(Kind.FILTER, "echo")

    def test_options(self, registry: Registry) -> None:
        (use,) = read(registry, filters=[{"use": "gate", "on_error": "bypass", "wait": "2s"}]).filters
        assert (use.config.wait, use.on_error) == (2.0, "bypass")

    def test_uses_inside_of_options(self, registry: Registry) -> None:
        (use,) = read(
            registry, filters=[{"use": "forward", "cluster": "c", "retry": {"use": "ring", "size": 5}}]
        ).filters
        assert use.config.retry.cls is registry.find(Kind.LOAD_BALANCER, "ring")
        assert use.config.retry.config.size == 5
        assert use.config.retry.path == "filters[0].retry"

    def test_a_default_is_loaded_too(self, registry: Registry) -> None:
        (use,) = read(registry, filters=[{"use": "forward", "cluster": "c"}]).filters
        assert use.config.retry.cls is registry.find(Kind.LOAD_BALANCER, "round_robin")

    def test_a_default_that_is_not_there_is_a_problem(self) -> None:
        with pytest.raises(ConfigError) as caught:
            structure(Cluster, {"name": "c"}, registry=Registry())
        assert [problem.path for problem in caught.value.problems] == ["discovery", "load_balancer"]

    def test_equal_uses_are_equal_wherever_they_stand(self, registry: Registry) -> None:
        first, second = read(registry, filters=[{"use": "gate"}, {"use": "gate"}]).filters
        assert first == second

    def test_matchers(self, registry: Registry) -> None:
        source, ssh = read(registry, match={"source": ["10.0.0.0/8"], "ssh": True}).match
        assert (source.name, source.config, source.path) == ("source", (ip_network("10.0.0.0/8"),), "match.source")
        assert (ssh.name, ssh.config) == ("ssh", True)

    def test_a_plugin_that_cannot_be_imported(self, registry: Registry) -> None:
        def load() -> None:
            raise PluginError("plugin 'broken' cannot be imported: no")

        registry.expect(Kind.FILTER, "broken", "broken", load)
        assert problems(registry, filters=["broken"])[0].startswith(
            "filters[0]: plugin 'broken' cannot be imported: no"
        )

    def test_message_filters_are_found_by_protocol(self) -> None:
        asked = []

        class Protocols(Registry):
            def find(self, kind: Kind, name: str, protocol: str | None = None) -> type[Any]:
                asked.append((kind, name, protocol))
                raise LookupError("unknown")

        @dataclass(frozen=True)
        class Http:
            filters: Any

        Http.__annotations__["filters"] = tuple[Annotated[Use, Plugin(Kind.MESSAGE_FILTER, "http")], ...]
        with pytest.raises(ConfigError):
            structure(Http, {"filters": ["cors"]}, registry=Protocols())
        assert asked == [(Kind.MESSAGE_FILTER, "cors", "http")]


class TestObjects:
    """A configuration that a program made of objects."""

    def config(self, *filters: Use) -> Config:
        return Config(listeners=(Listener(Address("127.0.0.1", 0), filters=filters),), clusters=(Cluster("db"),))

    def test_names_become_classes(self, registry: Registry) -> None:
        loaded = complete(self.config(Use("forward", {"cluster": "db"}, "bypass")), registry)
        (use,) = loaded.listeners[0].filters
        assert use.cls is registry.find(Kind.FILTER, "forward")
        assert (use.config.cluster, use.on_error, use.path) == ("db", "bypass", "listeners[0].filters[0]")
        assert loaded.clusters[0].load_balancer.cls is registry.find(Kind.LOAD_BALANCER, "round_robin")

    def test_options_may_be_objects(self, registry: Registry) -> None:
        (gate,) = read(registry, filters=["gate"]).filters
        loaded = complete(self.config(Use("gate", gate.config)), registry)
        assert loaded.listeners[0].filters == (gate,)

    def test_what_is_loaded_stays_as_it_is(self, registry: Registry) -> None:
        loaded = complete(self.config(Use("echo")), registry)
        assert complete(loaded, registry) is loaded

    def test_wrong_options_have_a_path(self, registry: Registry) -> None:
        with pytest.raises(ConfigError, match=r"^listeners\[0\]\.filters\[0\]\.cluster: is missing"):
            complete(self.config(Use("forward")), registry)
        with pytest.raises(ConfigError, match=r"unknown filter 'ech' .*'echo'"):
            complete(self.config(Use("ech")), registry)

    def test_matchers(self, registry: Registry) -> None:
        loaded = complete(Everything(match=(Use("source", ["10.0.0.0/8"]), Use("ssh", True))), registry)
        assert [use.config for use in loaded.match] == [(ip_network("10.0.0.0/8"),), True]

    def test_everything_else_stays(self, registry: Registry) -> None:
        given = Everything(names=["a"], table={"a": Size(1)}, inner=Inner("x"), workers="auto")
        assert complete(given, registry) is given


class TestWhereProblemsStand:
    class Origin:
        file = "proxy.toml"
        folder = Path("/etc/l4proxy")

        def line(self, path: str) -> int:
            return {"text": 3, "number": 1}.get(path, 2)

    def test_file_and_line(self, registry: Registry) -> None:
        with pytest.raises(ConfigError) as caught:
            structure(Everything, {"text": 1, "number": "x", "flag": 1}, registry=registry, source=self.Origin())
        assert [(problem.file, problem.line, problem.path) for problem in caught.value.problems] == [
            ("proxy.toml", 1, "number"),
            ("proxy.toml", 2, "flag"),
            ("proxy.toml", 3, "text"),
        ]

    def test_files_are_relative_to_the_file(self, registry: Registry) -> None:
        raw = {"use": "gate", "file": "ca.pem"}
        loaded = structure(Everything, {"filters": [raw]}, registry=registry, source=self.Origin())
        assert loaded.filters[0].config.file == "/etc/l4proxy/ca.pem"
        assert read(registry, filters=[raw]).filters[0].config.file == "ca.pem"
        assert read(registry, filters=[raw | {"file": "/ca.pem"}]).filters[0].config.file == "/ca.pem"


@dataclass(frozen=True)
class Rule:
    """A table that contains itself, and a list of others."""

    cluster: ClusterName | None = None
    otherwise: Rule | None = None
    token: Secret | None = None


class Ruled(Filter[Rule]):
    name = "ruled"


def test_tables_in_tables(registry: Registry) -> None:
    raw: Mapping[str, Any] = {"otherwise": {"otherwise": {"cluster": "c"}, "token": "t"}}
    assert structure(Rule, raw, registry=registry) == Rule(
        otherwise=Rule(otherwise=Rule(ClusterName("c")), token=Secret("t"))
    )
    with pytest.raises(ConfigError, match=r"^otherwise\.otherwise\.clster: unknown key \(did you mean 'cluster'\?\)"):
        structure(Rule, {"otherwise": {"otherwise": {"clster": "c"}}}, registry=registry)
