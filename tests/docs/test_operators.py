"""The operators' guide: its configurations are right, and its tables hold all that there is and nothing else.

What belongs to one protocol (metrics, close reasons, access log operators, filters) stands on that protocol's own page,
in a table under the same heading: Statistics, Close reasons, Access logs, What comes with it, Response flags.
"""

from __future__ import annotations

import ast
import errno
import importlib
import os
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import l4proxy
from docs.pages import OPERATORS, Block, blocks, commands
from l4proxy import Stats
from l4proxy.access_log.flags import RESPONSE_FLAGS
from l4proxy.access_log.operators import OPERATORS as ACCESS_LOG_OPERATORS
from l4proxy.admin.routes import ADMIN, METRICS
from l4proxy.cli.explain import PLURALS, sections
from l4proxy.cli.main import main
from l4proxy.config.schema import Config
from l4proxy.default_plugins import DEFAULT_PLUGINS
from l4proxy.dial import connect_failure, lost_detail
from l4proxy.endpoint_set import EndpointRemoved
from l4proxy.tls.failures import _VERIFY as CERTIFICATE_PROBLEMS
from services.certs import Authority
from services.needs import needs
from services.process import accepts, free_port, running
from source_tree import PACKAGES, ROOT, modules, parse

PAGE = (ROOT / OPERATORS).read_text()
ECHO = '[[listeners]]\naddress = "127.0.0.1:9"\nfilters = ["echo"]\n'


def table(heading: str) -> list[list[str]]:
    """The rows of the first table under a heading, on this page and on those of protocols, which have their own."""
    found = []
    for path in sorted((ROOT / OPERATORS).parent.glob("*.md")):
        text = path.read_text().partition(f"# {heading}\n")[2]
        if rows := re.search(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
            found += [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows[0].splitlines()[2:]]
    assert found
    return found


def names(heading: str, column: int = 0) -> list[str]:
    """What stands in backticks in a column."""
    return [name for row in table(heading) for name in re.findall(r"`(.*?)`", row[column])]


# Configurations


@pytest.mark.parametrize("block", blocks(OPERATORS, "toml"), ids=str)
def test_a_configuration_is_right(block: Block, authority: Authority, tmp_path: Path) -> None:
    """A part of one is right in a whole one. The files that it names are there."""
    for name in ("shop", "api", "client"):
        issued = authority.issue(f"{name}-{os.getpid()}", [f"{name}.example"])
        shutil.copy(issued.cert, tmp_path / f"{name}.pem")
        shutil.copy(issued.key, tmp_path / f"{name}.key")
    for name in ("ca.pem", "clients.pem"):
        shutil.copy(authority.cert, tmp_path / name)
    (tmp_path / "admin.token").write_text("secret\n")
    file = tmp_path / "l4proxy.toml"
    file.write_text(block.text + ("" if "[[listeners]]" in block.text else ECHO))
    assert main(["check", str(file)]) == 0


# Tables


def test_every_operator_of_access_logs_is_listed() -> None:
    """Operators of protocols are there when their plugins are imported."""
    stats_classes()
    listed = [re.sub(r"[%()]|\.\.\.", "", name) for name in names("Access logs")]
    assert sorted(listed) == sorted(operator.name for operator in ACCESS_LOG_OPERATORS)


def test_every_metric_is_listed_with_its_labels() -> None:
    listed = {row[0].strip("`"): re.findall(r"`(.*?)`", row[1]) for row in table("Statistics")}
    there = {
        cls.full_name(attribute): [*cls.label_names, *([metric.label] if metric.label else [])]
        for cls in stats_classes()
        for attribute, metric in cls.metrics.items()
    }
    assert listed == there


def stats_classes() -> list[type[Stats]]:
    for module in pkgutil.walk_packages(l4proxy.__path__, "l4proxy."):
        if not module.name.endswith(("__main__", "_spec")):
            importlib.import_module(module.name)
    found = list(Stats.__subclasses__())
    for cls in found:
        found += cls.__subclasses__()
    return [cls for cls in found if cls.__module__.startswith("l4proxy.")]


def test_every_section_is_listed() -> None:
    listed = names("The configuration, section by section")
    assert {cls for path, cls in sections() if path in listed} == {cls for _, cls in sections()}
    assert set(listed) <= {path for path, _ in sections()}


def test_every_setting_at_the_top_is_mentioned() -> None:
    assert not [name for name in Config.__dataclass_fields__ if name not in PAGE]


def test_every_page_of_the_admin_interface_is_listed() -> None:
    listed = [(method, path.strip("`")) for method, path, _ in table("The admin interface")]
    assert listed == [(route.method, route.path) for route in ADMIN.routes]
    text = PAGE.partition("# The admin interface\n")[2]
    assert not [route.path for route in METRICS.routes if f"`{route.path}`" not in text.partition("```console")[0]]


@needs("curl")
def test_the_admin_interface_answers_what_the_page_asks(tmp_path: Path) -> None:
    port = free_port()
    file, log = tmp_path / "l4proxy.toml", tmp_path / "log"
    file.write_text(f'[admin]\naddress = "127.0.0.1:{port}"\n{ECHO}'.replace('127.0.0.1:9"', '127.0.0.1:0"'))
    asked = [command.replace("9901", str(port)) for _, command in commands(OPERATORS) if command.startswith("curl ")]
    assert len(asked) > 4
    with running([sys.executable, "-m", "l4proxy", "run", str(file)], log=log, ready=lambda: accepts(port)):
        for command in asked:
            subprocess.run([*shlex.split(command), "--fail", "--silent"], check=True, capture_output=True)


def test_every_plugin_is_listed() -> None:
    listed = [(row[0].strip("`"), row[1]) for row in table("What comes with it")]
    there = [(plugin.name, plugin.kind.value) for plugin in DEFAULT_PLUGINS if plugin.kind in PLURALS]
    assert sorted(listed) == sorted(there)


def test_every_response_flag_in_use_is_listed() -> None:
    listed = {row[0].strip("`"): row[1] for row in table("Response flags")}
    assert listed == {flag: RESPONSE_FLAGS[flag] for flag in flags_in_use()}


def flags_in_use() -> set[str]:
    """What is said by ``flags=``, in functions of that name, and as the first argument of an UpstreamError."""
    found: set[str] = set()
    for path in every_module():
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.Call):
                said: list[ast.AST] = [keyword.value for keyword in node.keywords if keyword.arg == "flags"]
                said += node.args[:1] if name_of(node) in ("UpstreamError", "NoSuchCluster") else []
                found.update(text for one in said for inner in ast.walk(one) for text in constants(inner))
            elif isinstance(node, ast.FunctionDef) and node.name.strip("_") == "flags":
                found.update(text for inner in ast.walk(node) for text in constants(inner))
    return found & set(RESPONSE_FLAGS)


def test_every_close_reason_is_listed() -> None:
    listed = names("Close reasons")
    assert len(listed) == len(set(listed))
    known = {re.sub(r"^\.\.\._", "tls_client_certificate_", name) for name in listed}
    missing = {reason for reason in reasons() if reason not in known and not in_a_family(reason, known)}
    assert not missing


def test_every_close_reason_that_is_listed_can_happen() -> None:
    stale = {name for name in names("Close reasons") if "..." not in name} - set(reasons())
    assert not stale


def in_a_family(reason: str, known: set[str]) -> bool:
    """``tls_alert_...`` stands for all that begin so."""
    return any(reason.startswith(name.removesuffix("...")) for name in known if name.endswith("..."))


CLOSES = {"CloseReason": 2, "UpstreamError": 1, "NoSuchCluster": 1, "HandshakeFailed": 0, "close": 0, "_fail": 0,
          "close_connections": 0, "cut_off": 0, "finish": 0, "protocol_error": 0}  # fmt: skip
"""Which argument of a call is a close reason; the next one, where this one says who closed."""
ONLY_READ = ("kafka/session.py", "redis/reply.py", "redis/values.py")
"""In ``protocols``: what is wrong there closes no client's connection."""


def reasons() -> Iterator[str]:
    """Every close reason that stands in the code, and those that are made of the system's numbers or OpenSSL's."""
    protocols = PACKAGES["l4proxy.protocols"]
    for path in every_module():
        if path.is_relative_to(protocols) and str(path.relative_to(protocols)) in ONLY_READ:
            continue
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.Call):
                yield from filter(is_name, reasons_in(node))
    for number in errno.errorcode:
        yield connect_failure(number).detail
        yield lost_detail(OSError(number, ""))
    yield lost_detail(EndpointRemoved(""))
    for path in modules("l4proxy"):
        if path.parent.name == "tls":
            yield from (
                text
                for node in ast.walk(parse(path))
                for text in constants(node)
                if is_name(text) and text.startswith("tls_")
            )
    for name in (*CERTIFICATE_PROBLEMS.values(), "untrusted"):
        yield from (f"tls_{name}", f"tls_client_certificate_{name}")
    yield from ("dns_not_found", "dns_timeout", "dns_failed")


def reasons_in(call: ast.Call) -> list[str]:
    called = name_of(call)
    if called == "_refuse":
        return [text for argument in call.args for text in constants(argument)]
    if called in ("RemoteProtocolError", "BadMessage"):
        return [text for keyword in call.keywords if keyword.arg == "code" for text in constants(keyword.value)]
    if called == "add" and ast.unparse(call.func).endswith("refused_total.add"):
        return [text for argument in call.args for text in constants(argument)]
    at = CLOSES.get(called, len(call.args))
    if at < len(call.args) and constants(call.args[at])[:1] in (["client"], ["upstream"], ["proxy"]):
        at += 1
    return [text for argument in call.args[at : at + 1] for text in constants(argument)]


def name_of(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


def constants(node: ast.AST) -> list[str]:
    """The text that an argument can be."""
    if isinstance(node, ast.IfExp):
        return [*constants(node.body), *constants(node.orelse)]
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


def is_name(text: str) -> bool:
    return re.fullmatch(r"[a-z]+(_[a-z]+)*", text) is not None and not text.startswith("dns_invalid")


def every_module() -> list[Path]:
    return [path for package in PACKAGES for path in modules(package)]
