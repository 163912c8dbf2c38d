"""The kit for testing filters and codecs: `harness` (no sockets) and, as a pytest fixture, `proxy` (the real thing)."""

from l4proxy.testing.harness import End, Harness, harness, use

__all__ = ["End", "Harness", "harness", "use"]
