from __future__ import annotations

import pytest

from l4proxy.requirement import satisfies


@pytest.mark.parametrize(
    ("version", "requirement", "expected"),
    [
        ("0.1.0", ">=0.1", True),
        ("0.1.0", "==0.1", True),
        ("0.1.0", ">0.1", False),
        ("0.1.0", "!=0.1", False),
        ("0.1.0", ">=0.2", False),
        ("0.9.3", ">=0.2, <1", True),
        ("1.0", ">=0.2,<1", False),
        ("0.10.0", ">0.9", True),
        ("0.2.0.dev1", "<=0.2", True),
        ("2.0.1+local", ">=2", True),
    ],
)
def test_comparisons(version: str, requirement: str, expected: bool) -> None:
    assert satisfies(version, requirement) is expected


@pytest.mark.parametrize("requirement", ["0.1", ">=", "~=0.1", ">=0.1,", ">=x", ">= 0.1 <2"])
def test_what_is_not_a_requirement(requirement: str) -> None:
    with pytest.raises(ValueError, match="is not a requirement, such as"):
        satisfies("0.1.0", requirement)
