"""Settings of every test: which fixtures there are, and what becomes of a test that the machine cannot run."""

from __future__ import annotations

import os

import hypothesis
import pytest

import l4proxy
from l4proxy.pytest_plugin import proxy as proxy  # a checkout that is not installed has no entry points
from services.needs import require

pytest_plugins = [
    "services.certs",
    "services.envoy",
    "services.haproxy",
    "services.http_proxies",
    "services.kafka",
    "services.nginx",
    "services.postgres",
    "services.python_http",
    "services.redis",
    "services.redis_cluster",
    "services.redis_replicas",
    "services.valkey",
]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*names): programs or privileges without which the test is skipped")
    # How long an example takes says something about the machine only. In CI hypothesis' own profile says the same.
    if "CI" not in os.environ:
        slow = [hypothesis.HealthCheck.too_slow]
        hypothesis.settings.register_profile("l4proxy", deadline=None, suppress_health_check=slow)
        hypothesis.settings.load_profile("l4proxy")


def pytest_report_header() -> str:
    return f"l4proxy {l4proxy.__version__} from {l4proxy.__path__[0]}"


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        require(*mark.args)
