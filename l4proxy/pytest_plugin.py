"""What pytest loads by itself where l4proxy is installed: the ``proxy`` fixture, for tests of filters.

It stands here and not in ``l4proxy.testing`` so that a test run that does not use it imports nothing for it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from l4proxy.testing import Proxy, StartProxy

__all__ = ["proxy"]


@pytest.fixture
def proxy() -> Iterator[StartProxy]:
    """Start real proxies: ``proxy(Shout, option=1).connect()`` is a client's connection through ``Shout`` to an echo.

    Takes what ``l4proxy.testing.Proxy`` takes. When the test ends all of them are stopped, and it is an error if a
    filter raised, unless ``may_fail=True``.
    """
    from l4proxy.testing import Proxy

    with contextlib.ExitStack() as running:

        def start(*filters: Any, **arguments: Any) -> Proxy:
            return running.enter_context(Proxy(*filters, **arguments))

        yield start
