"""Small request and response: 100 bytes there and back. One connection shows the latency, 32 show the throughput."""

from __future__ import annotations

from programs import Work

from cases.traffic import MESSAGE, Traffic, Unit

__all__ = ["CASES"]

REQUEST = Unit(cpu_title="CPU us/req", cpu_scale=1e6, rate_title="req/s")

CASES = (
    Traffic("small", f"{MESSAGE} bytes there and back, 32 connections", REQUEST, Work("ping", 32, MESSAGE)),
    Traffic("small_1", f"{MESSAGE} bytes there and back, 1 connection", REQUEST, Work("ping", 1, MESSAGE)),
)
