"""The page names everything that there is."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from l4proxy_postgres.inspector import PostgresConfig
from l4proxy_postgres.statements import PostgresStats, StatementStats

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_every_metric_with_its_labels() -> None:
    said = re.findall(r"^\| `(l4proxy_\w+)` \| (?:`(\w+)`)?", README, re.MULTILINE)
    there = [
        (stats.full_name(name), (*stats.label_names, metric.label)[0])
        for stats in (PostgresStats, StatementStats)
        for name, metric in stats.metrics.items()
    ]
    assert sorted(said) == sorted(there)


def test_every_option_with_its_default() -> None:
    said = re.findall(r"^\| `(?!l4proxy_)(\w+)` \| `(\w+)` \|", README, re.MULTILINE)
    assert said == [(field.name, f"{field.default:g}") for field in dataclasses.fields(PostgresConfig)]


def test_every_key_of_the_access_log() -> None:
    source = "".join(path.read_text() for path in (Path(__file__).parents[1] / "l4proxy_postgres").glob("*.py"))
    assert set(re.findall(r'"(postgres:\w+)"', source)) == set(re.findall(r"`(postgres:\w+)`", README))
