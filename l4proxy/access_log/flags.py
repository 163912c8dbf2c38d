"""Envoy's response flags: why a connection or request did not go as meant, in a word.

https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage (``%RESPONSE_FLAGS%``)
"""

from __future__ import annotations

__all__ = ["RESPONSE_FLAGS"]

RESPONSE_FLAGS = {
    "UH": "NoHealthyUpstream",
    "UF": "UpstreamConnectionFailure",
    "UO": "UpstreamOverflow",
    "NR": "NoRouteFound",
    "URX": "UpstreamRetryLimitExceeded",
    "NC": "NoClusterFound",
    "DT": "DurationTimeout",
    "DC": "DownstreamConnectionTermination",
    "LH": "FailedLocalHealthCheck",
    "UT": "UpstreamRequestTimeout",
    "LR": "LocalReset",
    "UR": "UpstreamRemoteReset",
    "UC": "UpstreamConnectionTermination",
    "DI": "DelayInjected",
    "FI": "FaultInjected",
    "RL": "RateLimited",
    "UAEX": "UnauthorizedExternalService",
    "RLSE": "RateLimitServiceError",
    "IH": "InvalidEnvoyRequestHeaders",
    "SI": "StreamIdleTimeout",
    "DPE": "DownstreamProtocolError",
    "UPE": "UpstreamProtocolError",
    "UMSDR": "UpstreamMaxStreamDurationReached",
    "RFCF": "ResponseFromCacheFilter",
    "NFCF": "NoFilterConfigFound",
    "OM": "OverloadManagerTerminated",
    "DF": "DnsResolutionFailed",
    "DO": "DropOverload",
    "DR": "DownstreamRemoteReset",
    "UDO": "UnconditionalDropOverload",
}
"""Long names by flag. Those up to ``DT`` are for connections, all are for requests."""
