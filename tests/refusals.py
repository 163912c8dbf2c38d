"""What users are told of options that are wrong."""

from __future__ import annotations

from typing import Any

import pytest

from l4proxy import ConfigError
from l4proxy.config.structure import structure
from l4proxy.registry import Registry

__all__ = ["refusal"]


def refusal(of: type, **options: Any) -> str:
    """What is said of these options of a dataclass when they are read."""
    with pytest.raises(ConfigError) as caught:
        structure(of, options, registry=Registry())
    return str(caught.value)
