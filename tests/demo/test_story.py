from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from l4proxy import L4ProxyError
from l4proxy.demo import story
from l4proxy.demo.stage import Stage


def test_what_is_not_as_it_is_told_ends_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(story, "CONFIGURATION", story.CONFIGURATION.replace('"mask", ', ""))
    with pytest.raises(L4ProxyError, match="the demo fails: it is not true that"):
        asyncio.run(story.tell(Stage(), tmp_path))
