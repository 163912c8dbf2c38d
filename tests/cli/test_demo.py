"""The demo checks itself while it runs; it ends with an error where something is not as it says."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
from typing import Any


def test_it_tells_its_story(l4proxy: Any) -> None:
    status, out, err = l4proxy("demo")
    assert (status, err) == (0, "")
    assert re.findall(r"^ (\d)\. ", out, re.MULTILINE) == [str(scene) for scene in range(1, 10)]
    assert "class Mask(Filter[MaskConfig]):" in out
    assert re.search(r"the client receives +(alpha|beta): order 1 for ada, card \*{4} \*{4} \*{4} 1111\n", out)
    assert re.search(r"serving after +\d+\.\d ms", out)
    assert 'l4proxy_listener_connections_total{listener="orders"} 23' in out
    assert re.search(r"connections cut +0\n", out)
    assert "\x1b" not in out


def test_in_colour_and_left_running() -> None:
    reading, writing = pty.openpty()
    argv = [sys.executable, "-m", "l4proxy", "demo", "--keep"]
    with subprocess.Popen(argv, stdout=writing, env={**os.environ, "TERM": "xterm"}) as process:
        os.close(writing)
        out = b""
        while b"Ctrl-C ends it." not in out:
            out += os.read(reading, 65536)
        assert b"\x1b[1m 1. A plugin\x1b[0m" in out
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    os.close(reading)
