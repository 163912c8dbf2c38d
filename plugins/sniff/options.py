"""The options of ``l4proxy sniff PROTOCOL``: those that all protocols share, and those of the inspector."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from l4proxy.cli.options import in_words_of_options
from l4proxy.cli.quick import add_shared_options
from l4proxy.config.docs import field_docs
from l4proxy.config.dump import dump_value
from l4proxy.config.hints import options_shape
from l4proxy.config.shapes import Array, Field, Scalar, Table
from l4proxy.config.structure import EnvironmentText, structure
from l4proxy.config.text import toml_text
from l4proxy.config.units import parse_duration, parse_size
from l4proxy.errors import ConfigError, PluginError
from l4proxy.inspector import Inspector
from l4proxy.plugins.sniff.choice import Choice
from l4proxy.registry import Registry

__all__ = ["add_options", "choice_of", "config_of", "ports_of"]

T = TypeVar("T")
OF_INSPECTOR = "inspector_"
"""Before the names of the inspector's options where they are parsed, so that they are in nobody's way."""


def add_options(parser: argparse.ArgumentParser, inspector: type[Inspector[Any]]) -> None:
    """Raises PluginError where an inspector's option is called like a common one."""
    usual = ", ".join(map(str, inspector.ports)) or "all"
    source = parser.add_argument_group("where to look (one of these)")
    source.add_argument(
        "upstream",
        metavar="UPSTREAM",
        nargs="*",
        help="a server, host[:port]: a proxy in front of it is started, for clients to connect to",
    )
    source.add_argument("--interface", metavar="IF", help="a network interface, or any: listen to what passes")
    source.add_argument(
        "--pcap", metavar="FILE|-", help="a capture, pcap or pcapng, or one that comes in (tcpdump -w -)"
    )
    source.add_argument("--replay", metavar="FILE|-", help="what --record wrote")
    source.add_argument(
        "--port", metavar="N", action="append", default=[], help=f"ports of servers, all for any (default: {usual})"
    )
    source.add_argument("--buffer", metavar="SIZE", default="64MiB", type=_read(parse_size),
                        help="memory for what the kernel captures ahead of us (default 64MiB)")  # fmt: skip
    source.add_argument("--duration", metavar="TIME", type=_read(parse_duration), help="stop after 30s, 5m ...")
    view = parser.add_argument_group("how to show it (on a terminal: live tables, else: lines)")
    way = view.add_mutually_exclusive_group()
    way.add_argument("--lines", action="store_true", help="a line for each exchange, also on a terminal")
    way.add_argument("--json", action="store_true", help="a JSON object for each exchange, on a line")
    way.add_argument("--quiet", action="store_true", help="nothing but the summary at the end")
    view.add_argument("--prometheus", metavar="ADDR", help="serve metrics to scrapers, at :9308 or 127.0.0.1:9308")
    view.add_argument("--record", metavar="FILE", help="write everything to a file, as lines of JSON, for --replay")
    _add_choices(parser.add_argument_group("what to show"), inspector)
    _add_inspector_options(parser, inspector)
    proxy = parser.add_argument_group("the proxy in front of UPSTREAM")
    behind = f", and the {inspector.more_ports} ports behind it" if inspector.more_ports else ""
    usual = f"10000 above the server's port, or below where that is too high{behind}"
    proxy.add_argument("--listen", metavar="ADDR", help=f"where it listens (default: {usual})")
    add_shared_options(proxy, workers=False)


def _add_choices(group: argparse._ArgumentGroup, inspector: type[Inspector[Any]]) -> None:
    own = {selector.name: (selector.metavar, selector.help) for selector in inspector.selectors}
    word = inspector.kind_word
    common = {"client": ("ADDR", "clients with this address"), word: (word.upper(), f"this {word}")}
    for name, (metavar, text) in {**common, **own}.items():
        group.add_argument(
            _option(name),
            dest=f"choose_{name}",
            metavar=metavar,
            action="append",
            default=[],
            help=f"only {text}; may be a pattern (* ?), and be repeated",
        )
    group.add_argument("--errors", action="store_true", help="only what has an error")
    group.add_argument("--slow", metavar="TIME", type=_read(parse_duration), help="only what took as long: 100ms")


def _add_inspector_options(parser: argparse.ArgumentParser, inspector: type[Inspector[Any]]) -> None:
    shape = options_shape(inspector)
    if not isinstance(shape, Table) or not shape.fields:
        return
    group = parser.add_argument_group(f"of {inspector.name}")
    docs = field_docs(shape.cls)
    for name, field in shape.fields.items():
        try:
            _add_field(group, name, field, docs.get(name, "").replace("`", ""))
        except argparse.ArgumentError as error:
            raise PluginError(f"inspector {inspector.name!r}: its option {name} is in the way: {error}") from error


def _add_field(group: argparse._ArgumentGroup, name: str, field: Field, text: str) -> None:
    text = text.replace("%", "%%")
    if _is_switch(field):
        on = not field.default
        group.add_argument(
            _option(name) if on else f"--no-{_option(name)[2:]}",
            dest=OF_INSPECTOR + name,
            action="store_const",
            const="true" if on else "false",
            help=text,
        )
        return
    default = "" if field.default in (None, "", ()) else toml_text(dump_value(field.shape, field.default))
    group.add_argument(
        _option(name),
        dest=OF_INSPECTOR + name,
        metavar=_METAVARS.get(field.shape.name) or name.rpartition("_")[2].upper(),
        action="append" if isinstance(field.shape, Array) else "store",
        help=f"{text} (default {default.strip(chr(34))})".replace("%%", "%").replace("%", "%%") if default else text,
    )


_METAVARS = {"a duration": "TIME", "a size": "SIZE", "a whole number": "N", "a percentage": "PERCENT"}
"""What kinds of values are called; the others are called as their option ends."""


def _is_switch(field: Field) -> bool:
    return isinstance(field.shape, Scalar) and field.shape.forms == {"boolean"} and isinstance(field.default, bool)


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _read(parse: Callable[[Any], T]) -> Callable[[str], T]:
    def read(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return read


def config_of(inspector: type[Inspector[Any]], args: argparse.Namespace, registry: Registry) -> Any:
    """The inspector's options. Raises ConfigError in the words of the command line."""
    shape = options_shape(inspector)
    assert isinstance(shape, Table)
    raw: dict[str, Any] = {}
    for name in shape.fields:
        given = getattr(args, OF_INSPECTOR + name, None)
        if isinstance(given, list):
            raw[name] = [EnvironmentText(text.strip()) for one in given for text in one.split(",") if text.strip()]
        elif given is not None:
            raw[name] = EnvironmentText(given)
    try:
        return structure(shape.cls, raw, registry=registry)
    except ConfigError as error:
        raise in_words_of_options(error, {name: _option(name) for name in shape.fields}) from error


def choice_of(inspector: type[Inspector[Any]], args: argparse.Namespace) -> Choice:
    names = ["client", inspector.kind_word, *(selector.name for selector in inspector.selectors)]
    patterns = {name: getattr(args, f"choose_{name}") for name in names}
    return Choice(inspector, patterns, errors=args.errors, slow=args.slow)


def ports_of(inspector: type[Inspector[Any]], texts: Iterable[str]) -> tuple[int, ...]:
    """The ports to look at; none for all of them. Raises ValueError."""
    words = [word.strip() for text in texts for word in text.split(",")]
    if not words:
        return inspector.ports
    if "all" in words:
        return ()
    for word in words:
        if not (word.isascii() and word.isdigit() and 0 < int(word) < 65536):
            raise ValueError(f"--port: {word!r} is not a port (1 to 65535, or all)")
    return tuple(dict.fromkeys(map(int, words)))
