"""Real servers for the tests, each a pytest fixture on free ports of 127.0.0.1; ``tests/conftest.py`` loads them."""
