from __future__ import annotations

from collections import Counter

from l4proxy.plugins.http.stats import CLASSES


def test_every_status_has_a_class() -> None:
    """Also those that are none, and yet come: a response must not fail because it cannot be counted."""
    counted = Counter(CLASSES[status // 100] for status in range(100, 1000))
    assert counted == {"1xx": 100, "2xx": 100, "3xx": 100, "4xx": 100, "5xx": 500}
