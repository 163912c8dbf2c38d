"""The plugins that come with l4proxy: what each module of ``l4proxy.plugins`` registers.

The table lets a name be known, and its spelling corrected, before its module is imported: a proxy that uses one filter
imports one filter. It holds strings, because the core imports no plugin. A test holds it against what the modules
register.
"""

from __future__ import annotations

from typing import NamedTuple

from l4proxy.registry import Kind

__all__ = ["DEFAULT_PLUGINS", "DefaultPlugin"]


class DefaultPlugin(NamedTuple):
    """One class that a first-party module registers. ``protocol`` is set for message filters only."""

    module: str
    kind: Kind
    name: str
    protocol: str = ""


DEFAULT_PLUGINS: tuple[DefaultPlugin, ...] = (
    DefaultPlugin("access_log_file", Kind.ACCESS_LOGGER, "file"),
    DefaultPlugin("access_log_syslog", Kind.ACCESS_LOGGER, "syslog"),
    DefaultPlugin("address_matchers", Kind.MATCHER, "destination"),
    DefaultPlugin("address_matchers", Kind.MATCHER, "direct_source"),
    DefaultPlugin("address_matchers", Kind.MATCHER, "port"),
    DefaultPlugin("address_matchers", Kind.MATCHER, "source"),
    DefaultPlugin("address_matchers", Kind.MATCHER, "source_port"),
    DefaultPlugin("bandwidth_limit", Kind.FILTER, "bandwidth_limit"),
    DefaultPlugin("connection_limit", Kind.FILTER, "connection_limit"),
    DefaultPlugin("direct_response", Kind.FILTER, "direct_response"),
    DefaultPlugin("echo", Kind.FILTER, "echo"),
    DefaultPlugin("endpoints_file", Kind.DISCOVERY, "endpoints_file"),
    DefaultPlugin("fault", Kind.FILTER, "fault"),
    DefaultPlugin("grpc_check", Kind.HEALTH_CHECK, "grpc"),
    DefaultPlugin("http", Kind.FILTER, "http"),
    DefaultPlugin("http_bandwidth_limit", Kind.MESSAGE_FILTER, "bandwidth_limit", "http"),
    DefaultPlugin("http_basic_auth", Kind.MESSAGE_FILTER, "basic_auth", "http"),
    DefaultPlugin("http_buffer", Kind.MESSAGE_FILTER, "buffer", "http"),
    DefaultPlugin("http_check", Kind.HEALTH_CHECK, "http"),
    DefaultPlugin("http_commands", Kind.COMMAND, "forward"),
    DefaultPlugin("http_commands", Kind.COMMAND, "http"),
    DefaultPlugin("http_compression", Kind.MESSAGE_FILTER, "compression", "http"),
    DefaultPlugin("http_cors", Kind.MESSAGE_FILTER, "cors", "http"),
    DefaultPlugin("http_decompression", Kind.MESSAGE_FILTER, "decompression", "http"),
    DefaultPlugin("http_ext_authz", Kind.MESSAGE_FILTER, "ext_authz", "http"),
    DefaultPlugin("http_fault", Kind.MESSAGE_FILTER, "fault", "http"),
    DefaultPlugin("http_grpc", Kind.MESSAGE_FILTER, "grpc", "http"),
    DefaultPlugin("http_grpc_health", Kind.MESSAGE_FILTER, "grpc_health", "http"),
    DefaultPlugin("http_grpc_web", Kind.MESSAGE_FILTER, "grpc_web", "http"),
    DefaultPlugin("http_health_check", Kind.MESSAGE_FILTER, "health_check", "http"),
    DefaultPlugin("http_jwt_authn", Kind.MESSAGE_FILTER, "jwt_authn", "http"),
    DefaultPlugin("http_lines", Kind.ACCESS_LOGGER, "http_lines"),
    DefaultPlugin("http_local_ratelimit", Kind.MESSAGE_FILTER, "local_ratelimit", "http"),
    DefaultPlugin("http_mirror", Kind.MESSAGE_FILTER, "mirror", "http"),
    DefaultPlugin("http_rbac", Kind.MESSAGE_FILTER, "rbac", "http"),
    DefaultPlugin("http_request_id", Kind.MESSAGE_FILTER, "request_id", "http"),
    DefaultPlugin("http_route", Kind.COMMAND, "route"),
    DefaultPlugin("http_watch", Kind.FILTER, "http_watch"),
    DefaultPlugin("http_watch", Kind.INSPECTOR, "http"),
    DefaultPlugin("kafka", Kind.FILTER, "kafka"),
    DefaultPlugin("kafka", Kind.INSPECTOR, "kafka"),
    DefaultPlugin("kafka_fault", Kind.MESSAGE_FILTER, "fault", "kafka"),
    DefaultPlugin("kafka_mirror", Kind.MESSAGE_FILTER, "mirror", "kafka"),
    DefaultPlugin("kafka_prefix", Kind.MESSAGE_FILTER, "prefix", "kafka"),
    DefaultPlugin("kafka_produce_rules", Kind.MESSAGE_FILTER, "produce_rules", "kafka"),
    DefaultPlugin("kafka_proxy", Kind.COMMAND, "kafka"),
    DefaultPlugin("kafka_proxy", Kind.FILTER, "kafka_proxy"),
    DefaultPlugin("kafka_quota", Kind.MESSAGE_FILTER, "quota", "kafka"),
    DefaultPlugin("kafka_topic_rules", Kind.MESSAGE_FILTER, "topic_rules", "kafka"),
    DefaultPlugin("least_request", Kind.LOAD_BALANCER, "least_request"),
    DefaultPlugin("local_ratelimit", Kind.FILTER, "local_ratelimit"),
    DefaultPlugin("logical_dns", Kind.DISCOVERY, "logical_dns"),
    DefaultPlugin("maglev", Kind.LOAD_BALANCER, "maglev"),
    DefaultPlugin("matchers", Kind.MATCHER, "http1"),
    DefaultPlugin("matchers", Kind.MATCHER, "http2"),
    DefaultPlugin("matchers", Kind.MATCHER, "kafka"),
    DefaultPlugin("matchers", Kind.MATCHER, "postgres"),
    DefaultPlugin("matchers", Kind.MATCHER, "proxy_protocol"),
    DefaultPlugin("matchers", Kind.MATCHER, "redis"),
    DefaultPlugin("matchers", Kind.MATCHER, "ssh"),
    DefaultPlugin("matchers", Kind.MATCHER, "tls"),
    DefaultPlugin("mirror", Kind.FILTER, "mirror"),
    DefaultPlugin("original_dst", Kind.DISCOVERY, "original_dst"),
    DefaultPlugin("proxy_protocol", Kind.PREAMBLE, "proxy_protocol"),
    DefaultPlugin("random_choice", Kind.LOAD_BALANCER, "random"),
    DefaultPlugin("rbac", Kind.FILTER, "rbac"),
    DefaultPlugin("redis", Kind.COMMAND, "redis"),
    DefaultPlugin("redis", Kind.FILTER, "redis_proxy"),
    DefaultPlugin("redis_auth", Kind.MESSAGE_FILTER, "auth", "redis"),
    DefaultPlugin("redis_block", Kind.MESSAGE_FILTER, "block", "redis"),
    DefaultPlugin("redis_check", Kind.HEALTH_CHECK, "redis"),
    DefaultPlugin("redis_fault", Kind.MESSAGE_FILTER, "fault", "redis"),
    DefaultPlugin("redis_local_ratelimit", Kind.MESSAGE_FILTER, "local_ratelimit", "redis"),
    DefaultPlugin("redis_nodes", Kind.FILTER, "redis_nodes"),
    DefaultPlugin("redis_rename", Kind.MESSAGE_FILTER, "rename", "redis"),
    DefaultPlugin("redis_ttl", Kind.MESSAGE_FILTER, "ttl", "redis"),
    DefaultPlugin("redis_watch", Kind.FILTER, "redis"),
    DefaultPlugin("redis_watch", Kind.INSPECTOR, "redis"),
    DefaultPlugin("ring_hash", Kind.LOAD_BALANCER, "ring_hash"),
    DefaultPlugin("round_robin", Kind.LOAD_BALANCER, "round_robin"),
    DefaultPlugin("sni_dynamic_forward", Kind.FILTER, "sni_dynamic_forward"),
    DefaultPlugin("sniff", Kind.COMMAND, "sniff"),
    DefaultPlugin("static", Kind.DISCOVERY, "static"),
    DefaultPlugin("statsd_sink", Kind.STATS_SINK, "statsd"),
    DefaultPlugin("strict_dns", Kind.DISCOVERY, "strict_dns"),
    DefaultPlugin("tcp_check", Kind.HEALTH_CHECK, "tcp"),
    DefaultPlugin("tcp_proxy", Kind.FILTER, "tcp_proxy"),
)
