"""Streams as fast as they go, one way and both ways. A gigabyte is 10^9 bytes; of both ways, the sum is counted."""

from __future__ import annotations

from programs import Work

from cases.traffic import CHUNK, Traffic, Unit

__all__ = ["CASES", "DOWN", "GIGABYTE", "UP"]

GIGABYTE = Unit(cpu_title="CPU ms/GB", cpu_scale=1e3, rate_title="GB/s", size=1e9, latency=False)
DOWN = Work("down", 4, CHUNK)
UP = Work("up", 4, CHUNK)
BOTH = Work("both", 4, CHUNK)

CASES = (
    Traffic("bulk_down", "upstream to client, 4 connections", GIGABYTE, DOWN),
    Traffic("bulk_up", "client to upstream, 4 connections", GIGABYTE, UP),
    Traffic("bulk_both", "both ways at once, 4 connections", GIGABYTE, BOTH),
)
