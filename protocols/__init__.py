"""Sans-IO codecs: bytes in, events out. No socket, no loop, no clock."""

if __name__ != "l4proxy.protocols":
    raise ImportError("import this package as l4proxy.protocols")
