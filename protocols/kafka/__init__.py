"""Kafka's wire protocol, sans IO: bytes in, understanding out, and not a byte changed.

The messages are **declared** once, in a notation of a line per field (`schema`), in all versions (`declarations`,
`apis`). From a declaration come

- **walkers** (`walker`): functions that read a few fields of a message where it lies, also while it passes in pieces,
  and tell where they lie, for who wants to change them and nothing else;
- **plain data** (`plain`): a whole message as dicts and lists, and back, field by field.

`session` follows one connection: it cuts the bytes into frames (`frames`), looks up what is read of each (`plan`), and
pairs responses with requests. `batches` reads what the headers of record batches say, `records` opens them. `messages`
decodes and encodes whole messages on demand, most of them through kafka-python (`kafka_python`), which is what all of
this is tested against, too.
"""
