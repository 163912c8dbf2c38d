"""Every public name of l4proxy in a short program that runs: ``python -m examples.filter``, with ``tests`` as the path.

``test_public_names`` runs them all.
"""
