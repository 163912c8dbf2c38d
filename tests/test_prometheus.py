"""Rendered snapshots, read back by the parser of Prometheus' own Python client."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from l4proxy.prometheus import render_json, render_prometheus
from l4proxy.stats import Stats, counter, gauge, histogram, labelled_counter
from l4proxy.stats_registry import StatsRegistry


class SiteStats(Stats, subsystem="site", labels=("host",)):
    visits_total = counter("Visits.")
    temperature = gauge('Degrees, "C:\\here"\nand there.', number=float)
    visit_seconds = histogram("Durations.", buckets=(0.5, 1, 2.5))
    errors_total = labelled_counter("Errors.", label="kind")


class BareStats(Stats, subsystem="bare"):
    things_total = counter("Things.")
    thing_seconds = histogram("Durations.", buckets=(1, 2))


Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parse(text: str) -> Series:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def series(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


@pytest.fixture
def registry() -> StatsRegistry:
    return StatsRegistry()


def test_numbers_come_back(registry: StatsRegistry) -> None:
    stats = registry.group(SiteStats, host="a.test")
    stats.visits_total += 3
    stats.temperature = -1.5
    stats.errors_total.add("refused", 2)
    registry.group(BareStats).things_total += 1
    parsed = parse(render_prometheus(registry.snapshot()))
    assert parsed[series("l4proxy_site_visits_total", host="a.test")] == 3
    assert parsed[series("l4proxy_site_temperature", host="a.test")] == -1.5
    assert parsed[series("l4proxy_site_errors_total", host="a.test", kind="refused")] == 2
    assert parsed[series("l4proxy_bare_things_total")] == 1


def test_histograms_are_cumulative_and_end_at_infinity(registry: StatsRegistry) -> None:
    stats = registry.group(SiteStats, host="a.test")
    for value in (0.1, 0.5, 0.7, 2, 99):
        stats.visit_seconds.record(value)
    parsed = parse(render_prometheus(registry.snapshot()))
    buckets = [series("l4proxy_site_visit_seconds_bucket", host="a.test", le=le) for le in ("0.5", "1", "2.5", "+Inf")]
    assert [parsed[bucket] for bucket in buckets] == [2, 3, 4, 5]
    assert parsed[series("l4proxy_site_visit_seconds_count", host="a.test")] == 5
    assert parsed[series("l4proxy_site_visit_seconds_sum", host="a.test")] == pytest.approx(102.3)


def test_a_histogram_without_labels(registry: StatsRegistry) -> None:
    registry.group(BareStats).thing_seconds.record(1.5)
    parsed = parse(render_prometheus(registry.snapshot()))
    assert parsed[series("l4proxy_bare_thing_seconds_bucket", le="2")] == 1
    assert parsed[series("l4proxy_bare_thing_seconds_count")] == 1


def test_families_have_their_help_and_type(registry: StatsRegistry) -> None:
    registry.group(SiteStats, host="a.test")
    page = render_prometheus(registry.snapshot())
    families = {family.name: family for family in text_string_to_metric_families(page)}
    assert families["l4proxy_site_visits"].type == "counter"
    assert families["l4proxy_site_visit_seconds"].type == "histogram"
    assert families["l4proxy_site_temperature"].type == "gauge"
    assert families["l4proxy_site_temperature"].documentation == 'Degrees, "C:\\here"\nand there.'


@given(st.text(st.characters(codec="utf-8")))
def test_every_label_value_comes_back(value: str) -> None:
    registry = StatsRegistry()
    registry.group(SiteStats, host=value).visits_total += 1
    assert series("l4proxy_site_visits_total", host=value) in parse(render_prometheus(registry.snapshot()))


@pytest.mark.parametrize("value", [math.inf, -math.inf, 1e300, 5e-324, 0.1, 2**60])
def test_extreme_numbers_come_back(registry: StatsRegistry, value: float) -> None:
    registry.group(SiteStats, host="x").temperature = value
    assert parse(render_prometheus(registry.snapshot()))[series("l4proxy_site_temperature", host="x")] == value


def test_not_a_number_comes_back(registry: StatsRegistry) -> None:
    registry.group(SiteStats, host="x").temperature = math.nan
    assert math.isnan(parse(render_prometheus(registry.snapshot()))[series("l4proxy_site_temperature", host="x")])


def test_no_families_make_an_empty_page() -> None:
    assert render_prometheus({}) == ""


def test_json_says_the_same_as_the_text(registry: StatsRegistry) -> None:
    stats = registry.group(SiteStats, host="a.test")
    stats.visits_total += 3
    for value in (0.1, 0.7, 0.7, 2):
        stats.visit_seconds.record(value)
    page = json.loads(json.dumps(render_json(registry.snapshot()), allow_nan=False))
    assert page["l4proxy_site_visits_total"] == {
        "type": "counter",
        "help": "Visits.",
        "series": [{"labels": {"host": "a.test"}, "value": 3}],
    }
    (visits,) = page["l4proxy_site_visit_seconds"]["series"]
    parsed = parse(render_prometheus(registry.snapshot()))
    for bound, count in visits["buckets"].items():
        assert parsed[series("l4proxy_site_visit_seconds_bucket", host="a.test", le=bound)] == count
    assert visits["count"] == 4
    assert visits["sum"] == pytest.approx(3.5)
    assert visits["p50"] == 0.75
    assert visits["p99"] == pytest.approx(2.44)


def test_json_has_null_for_what_it_cannot_say(registry: StatsRegistry) -> None:
    registry.group(SiteStats, host="a").temperature = math.inf
    registry.group(SiteStats, host="b").temperature = math.nan
    page = json.loads(json.dumps(render_json(registry.snapshot()), allow_nan=False))
    assert [one["value"] for one in page["l4proxy_site_temperature"]["series"]] == [None, None]
    assert page["l4proxy_site_visit_seconds"]["series"][0]["p50"] is None
