"""Statistics of a filter: plain attributes on an object that is fetched once, Prometheus text when somebody asks."""

import time

from l4proxy import Filter, NoConfig, Server, Stats, counter, gauge, histogram, labelled_counter
from l4proxy.prometheus import render_prometheus
from l4proxy.stats import SECONDS
from l4proxy.testing import harness


class WordStats(Stats, subsystem="words", labels=("language",)):
    """What clients say."""

    words_total = counter("Words that clients sent.")
    clients = gauge("Clients that are connected.")
    silence_seconds = histogram("How long clients thought before they said something.", buckets=SECONDS)
    greetings_total = labelled_counter("Greetings, by the word.", label="word")


class Words(Filter[NoConfig]):
    """Count words."""

    name = "words"
    shared: WordStats

    @classmethod
    def provision(cls, config: NoConfig, server: Server) -> WordStats:
        return server.stats.group(WordStats, language="en")

    def on_connect(self) -> None:
        self.shared.clients += 1
        self.began = time.monotonic()

    def on_client_data(self, data: bytes) -> bytes | None:
        stats, words = self.shared, data.decode().split()
        stats.words_total += len(words)
        stats.silence_seconds.record(time.monotonic() - self.began)
        for word in words:
            if word in ("hello", "hi"):
                stats.greetings_total.add(word)
        return data


def main() -> None:
    h = harness(Words)
    h.client.send(b"hello world")
    stats = h.stats.group(WordStats, language="en")
    assert (stats.words_total, stats.clients, stats.greetings_total["hello"]) == (2, 1, 1)
    text = render_prometheus(h.stats.snapshot())
    assert 'l4proxy_words_words_total{language="en"} 2\n' in text
    assert 'l4proxy_words_greetings_total{language="en",word="hello"} 1\n' in text


if __name__ == "__main__":
    main()
