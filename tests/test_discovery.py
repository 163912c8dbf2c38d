from __future__ import annotations

import logging

import pytest

from clusters import config
from l4proxy.discovery import Discovery, Update
from l4proxy.filter import NoConfig


class Nothing(Discovery[NoConfig]):
    name = "nothing"

    async def run(self, update: Update) -> None:
        update(())


@pytest.fixture
def discovery() -> Nothing:
    return Nothing(NoConfig(), config("127.0.0.1:1"))


def test_at_first_nothing_is_known_and_nothing_is_wrong(discovery: Nothing) -> None:
    assert discovery.initial() is None
    assert discovery.problem == ""


def test_problems_are_told_by_what_they_are_about(discovery: Nothing) -> None:
    discovery.report("no such name", about="one")
    discovery.report("no answer", about="other")
    assert discovery.problem == "one: no such name; other: no answer"
    discovery.report(about="one")
    assert discovery.problem == "other: no answer"
    discovery.report("everything is broken")
    assert discovery.problem == "other: no answer; everything is broken"
    assert (discovery.updates, discovery.failures) == (1, 3)


def test_only_changes_are_logged(discovery: Nothing, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        for problem in ("", "bad", "bad", "worse", "", ""):
            discovery.report(problem, about="db:1")
        discovery.report("bad")
    assert [record.getMessage() for record in caplog.records] == [
        "cluster c: nothing db:1: bad",
        "cluster c: nothing db:1: worse",
        "cluster c: nothing db:1: well again",
        "cluster c: nothing: bad",
    ]
