"""Write the package of a new plugin: a filter with an option, its tests, and what pip needs.

The filter that it writes does something small and real, so that every part of a plugin is there to be changed: options,
state per connection, a decision, tests of all that. ``contrib/plugin-template`` is what ``limit_upload`` comes out as.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable
from pathlib import Path
from string import Template

from l4proxy import __version__
from l4proxy.errors import L4ProxyError

__all__ = ["new_plugin"]

_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
_IMPORTED = {"Filter", "Register", "Size"}

_PYPROJECT = """\
[build-system]
requires = ["setuptools>=61"]
build-backend = "setuptools.build_meta"

[project]
name = "$distribution"
version = "0.1.0"
description = "An l4proxy filter that closes connections whose client sends too much"
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["l4proxy>=$version"]

[project.optional-dependencies]
test = ["pytest"]

# This is how l4proxy finds the plugin: name = module.
[project.entry-points.l4proxy]
$name = "$module"

[tool.setuptools]
py-modules = ["$module"]

[tool.ruff]
line-length = 120
"""

_README = """\
# $distribution

An l4proxy filter that closes connections whose client sends too much.

```console
$$ pip install -e ".[test]"
$$ pytest
$$ l4proxy plugins
$$ l4proxy tcp 127.0.0.1:8080 127.0.0.1:80 --use $name:max_bytes=1MiB
```

In a configuration file, in front of the filter that ends the chain:

```toml
filters = [{ use = "$name", max_bytes = "1MiB" }, { use = "tcp_proxy", cluster = "web" }]
```
"""

_MODULE = '''\
"""Close connections whose client sends too much."""

from __future__ import annotations

from dataclasses import dataclass

from l4proxy import Filter, Register, hookimpl
from l4proxy.config.types import Size

ONE_MEBIBYTE = Size(1024 * 1024)


@dataclass(frozen=True, slots=True)
class ${cls}Config:
    """The options: what may stand beside `use = "$name"`. They are checked when the configuration is loaded."""

    max_bytes: Size = ONE_MEBIBYTE
    """How much a client may send on one connection."""

    def __post_init__(self) -> None:
        if self.max_bytes < 1:
            raise ValueError("max_bytes: must be at least 1")


class $cls(Filter[${cls}Config]):
    """Close connections whose client sends too much."""

    name = "$name"
    status = "alpha"

    def on_connect(self) -> None:
        self.received = 0

    def on_client_data(self, data: bytes) -> bytes | None:
        room = self.config.max_bytes - self.received
        self.received += len(data)
        if len(data) <= room:
            return data
        self.conn.log.info("more than %d bytes from %s", self.config.max_bytes, self.conn.client)
        self.conn.send_upstream(data[:room])  # the same bytes pass, however they are cut into chunks
        self.conn.close("too_much_sent")
        return None


@hookimpl
def register_filters(register: Register[type[$cls]]) -> None:
    register($cls)
'''

_TEST = """\
from __future__ import annotations

import pytest
from l4proxy import ConfigError
from l4proxy.plugin_manager import load_plugins
from l4proxy.registry import Kind
from l4proxy.testing import StartProxy, check_filter, harness

from $module import $cls


def test_it_is_found_where_it_is_installed() -> None:
    assert load_plugins().registry.find(Kind.FILTER, "$name") is $cls


def test_what_is_not_too_much_passes() -> None:
    h = harness($cls, max_bytes=10)
    h.client.send(b"12345", b"67890")
    h.upstream.send(b"as much as the upstream likes")
    assert h.upstream.received == b"1234567890"
    assert h.client.received == b"as much as the upstream likes"
    assert h.closed is None


def test_too_much_closes_the_connection() -> None:
    h = harness($cls, max_bytes="10B")
    h.client.send(b"1234567890", b"!")
    assert h.closed is not None
    assert h.closed.detail == "too_much_sent"
    assert h.upstream.received == b"1234567890"


def test_connections_are_counted_apart(proxy: StartProxy) -> None:
    running = proxy($cls, max_bytes=10)  # a real one, in front of a server that echoes
    for _ in range(2):
        with running.connect() as client:
            client.send(b"1234567890")
            assert client.receive(10) == b"1234567890"
            client.send(b"!")
            assert client.receive_all() == b""
    assert [reason.detail for reason in running.wait_closed(2)] == ["too_much_sent", "too_much_sent"]


def test_the_same_comes_out_however_the_bytes_arrive() -> None:
    check_filter($cls, client=[b"12345"], upstream=[b"hi"], expect_upstream=b"12345", max_bytes=10)
    check_filter($cls, client=[b"1234567890!"], expect_upstream=b"1234567890", max_bytes=10)


def test_options_are_checked() -> None:
    with pytest.raises(ConfigError, match="max_bytes: must be at least 1"):
        harness($cls, max_bytes=0)
"""


def new_plugin(name: str, parent: Path, *, taken: Iterable[str] = ()) -> list[Path]:
    """Write the package ``l4proxy-NAME`` into a new directory of ``parent`` and return its files, in reading order.

    ``taken`` are names of filters that exist already. Raises L4ProxyError when the name cannot be used or the directory
    exists; nothing is written then.
    """
    words = re.split("[-_]", name.removeprefix("l4proxy-"))
    if not _NAME.fullmatch("_".join(words)):
        raise L4ProxyError(f"{name!r} cannot be the name of a plugin: write it like rate_limit or rate-limit")
    cls = "".join(word.capitalize() for word in words)
    if keyword.iskeyword(cls) or cls in _IMPORTED:
        raise L4ProxyError(f"{name!r} cannot be the name of a plugin: its class would be called {cls}")
    if "_".join(words) in taken:
        raise L4ProxyError(f"there is a filter {'_'.join(words)!r} already: choose another name")
    directory = parent / f"l4proxy-{'-'.join(words)}"
    values = {
        "name": "_".join(words),
        "cls": cls,
        "module": f"l4proxy_{'_'.join(words)}",
        "distribution": directory.name,
        "version": __version__,
    }
    try:
        directory.mkdir(parents=True)
    except OSError as error:
        raise L4ProxyError(f"{directory}: {error.strerror}") from error
    return [_write(directory / path, text, values) for path, text in _files(values["module"], values["name"])]


def _files(module: str, name: str) -> list[tuple[str, str]]:
    return [
        ("README.md", _README),
        ("pyproject.toml", _PYPROJECT),
        (f"{module}.py", _MODULE),
        (f"tests/test_{name}.py", _TEST),
    ]


def _write(path: Path, template: str, values: dict[str, str]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(Template(template).substitute(values), encoding="utf-8")
    return path
