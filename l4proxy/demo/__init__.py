"""``l4proxy demo``: the main job in a few seconds, with servers and clients inside this process.

``story`` tells it, scene by scene; ``plugin`` is the filter in its chain, ``orders`` the service behind the proxy and
its clients, ``stage`` what is printed. The proxy is the real one, through ``l4proxy.serve``.
"""
