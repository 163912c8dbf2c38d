"""A conversation that is spoken in values, not in bytes."""

from __future__ import annotations

import pytest

from kafka_speech import Speech

__all__ = ["speech"]


@pytest.fixture
def speech() -> Speech:
    return Speech()
