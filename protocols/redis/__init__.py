"""Redis: RESP2 and RESP3, commands, keys and slots.

``request`` and ``reply`` find where commands and replies end, without making objects (``patterns`` is how); ``values``
makes the objects, and ``codec`` puts both together for whoever wants to see every message. ``commands`` knows what each
command is, ``keys`` which of its arguments are keys, ``slots`` where in a cluster a key belongs.
"""
