"""What brokers and controllers say among themselves. Named, so that it is recognised; not declared."""

from __future__ import annotations

from l4proxy.protocols.kafka.api import Api, api

__all__ = ["CONTROLLER_APIS"]

CONTROLLER_APIS: tuple[Api, ...] = (
    api(4, "LeaderAndIsr", versions=(0, 7), flexible=4),
    api(5, "StopReplica", versions=(0, 4), flexible=2),
    api(6, "UpdateMetadata", versions=(0, 8), flexible=6),
    api(7, "ControlledShutdown", versions=(0, 3), flexible=3),
    api(52, "Vote", versions=(0, 2), flexible=0),
    api(53, "BeginQuorumEpoch", versions=(0, 1), flexible=1),
    api(54, "EndQuorumEpoch", versions=(0, 1), flexible=1),
    api(56, "AlterPartition", versions=(0, 3), flexible=0),
    api(58, "Envelope", versions=(0, 0), flexible=0),
    api(59, "FetchSnapshot", versions=(0, 1), flexible=0),
    api(62, "BrokerRegistration", versions=(0, 4), flexible=0),
    api(63, "BrokerHeartbeat", versions=(0, 1), flexible=0),
    api(67, "AllocateProducerIds", versions=(0, 0), flexible=0),
    api(70, "ControllerRegistration", versions=(0, 0), flexible=0),
    api(73, "AssignReplicasToDirs", versions=(0, 0), flexible=0),
    api(82, "UpdateRaftVoter", versions=(0, 0), flexible=0),
)
