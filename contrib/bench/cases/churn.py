"""Connect, exchange one small message, close: what a connection costs. Latency is from connect() to the whole answer.

The upstream closes first, so that connections in TIME_WAIT occupy the ports of listeners, not those of who connects:
otherwise the search for a free port would grow during a run and be charged to the proxy.
"""

from __future__ import annotations

from programs import Work

from cases.traffic import MESSAGE, Traffic, Unit

__all__ = ["CASES", "CHURN", "DESCRIPTION"]

CONNECTION = Unit(cpu_title="CPU us/conn", cpu_scale=1e6, rate_title="conn/s")

CHURN = Work("churn", 32, MESSAGE)
DESCRIPTION = f"{MESSAGE} bytes there and back, close; 32 at a time"

CASES = (Traffic("churn", f"connect, {DESCRIPTION}", CONNECTION, CHURN),)
