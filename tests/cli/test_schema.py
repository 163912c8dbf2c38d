from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema

GATE = """
from dataclasses import dataclass
from l4proxy import Filter, hookimpl

@dataclass(frozen=True, slots=True)
class GateConfig:
    token: str

class Gate(Filter[GateConfig]):
    name = "gate"

@hookimpl
def register_filters(register):
    register(Gate)
"""


def config(**gate: Any) -> dict[str, Any]:
    return {"listeners": [{"address": "127.0.0.1:80", "filters": [{"use": "gate", **gate}, "echo"]}]}


def test_the_options_of_installed_plugins_are_in_it(l4proxy: Any, tmp_path: Path) -> None:
    (tmp_path / "gate.py").write_text(GATE)
    status, out, err = l4proxy("schema", "--plugin-dir", str(tmp_path))
    assert (status, err) == (0, "")
    schema = json.loads(out)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid(config(token="x"))
    assert not validator.is_valid(config(tokn="x"))
    without = jsonschema.Draft202012Validator(json.loads(l4proxy("schema").out))
    assert not without.is_valid(config(token="x"))
