"""Access logs: one record for every connection, in the format and to the sinks that the configuration names.

``record`` is what is known of a connection, ``operators`` and ``format`` turn it into a line, ``select`` chooses which
are logged, ``logger`` is the contract of sinks, ``writer`` the thread in which they write.
"""
