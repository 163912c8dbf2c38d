"""Captured traffic: from the bytes of a capture file, or of a frame, to ordered byte streams.

In the order of their work: `reader` (`pcap`, `pcapng`) finds packets in a file, `packet` finds TCP in a packet, `tcp`
puts streams together. `bpf` writes the program by which the kernel chooses packets.
"""
