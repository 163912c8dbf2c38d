from __future__ import annotations

import pytest

from l4proxy import Command
from l4proxy.cli.main import COMMANDS, _import
from l4proxy.contract_check import contract_problem
from l4proxy.registry import Kind


@pytest.mark.parametrize("name", COMMANDS)
def test_our_commands_keep_the_contract_of_plugins(name: str) -> None:
    command = _import(name)
    assert issubclass(command, Command)
    assert command.name == name
    assert contract_problem(Kind.COMMAND, command) == ""
