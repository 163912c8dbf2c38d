"""Kafka's messages, declared: every API that clients use, in every version that Kafka 4.1 speaks, or one before it did.

The notation is that of `l4proxy.protocols.kafka.schema`. Tests hold the declarations against kafka-python's and against
the message definitions that Apache Kafka's own jars carry.
"""
