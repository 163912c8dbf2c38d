"""The proxy as its users run it, between real servers and real clients, and what becomes of them when things break."""
