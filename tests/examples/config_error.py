"""What is wrong with a configuration: all of it, each with its place, before anything is served."""

import asyncio

from l4proxy import ConfigError, ConfigProblem, L4ProxyError, serve

WRONG = {
    "listeners": [{"address": "127.0.0.1:0", "filters": ["ehco"]}],
    "drain_tme": "5s",
}


async def problems() -> list[ConfigProblem]:
    try:
        async with serve(WRONG):
            return []
    except ConfigError as error:
        return error.problems


def main() -> None:
    assert issubclass(ConfigError, L4ProxyError)  # the base of all errors that l4proxy raises on purpose
    assert [(problem.path, problem.cause) for problem in asyncio.run(problems())] == [
        ("listeners[0].filters[0]", "unknown filter 'ehco' (did you mean 'echo'?)"),
        ("drain_tme", "unknown key (did you mean 'drain_time'?)"),
    ]


if __name__ == "__main__":
    main()
