"""First-party plugins: every feature a stranger could have written, registered through the same hooks."""

if __name__ != "l4proxy.plugins":
    raise ImportError("import this package as l4proxy.plugins")
