"""The five resources that kzn watches: API path, media types, decoder."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from kzn.topology.kube.api_objects import Json
from kzn.topology.kube.decode import NODES, OWNERS, PODS, SERVICES, Codec

S = TypeVar("S", bound=Json)
T = TypeVar("T")

WHOLE = "application/json"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
METADATA_WATCH = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"


@dataclass(frozen=True, slots=True)
class Resource(Generic[S, T]):
    """A collection of the API; ``accept_list`` and ``accept_watch`` are Accept headers."""

    name: str
    path: str
    codec: Codec[S, T]
    accept_list: str = WHOLE
    accept_watch: str = WHOLE


POD_RESOURCE = Resource("pods", "/api/v1/pods", PODS)
NODE_RESOURCE = Resource("nodes", "/api/v1/nodes", NODES)
SERVICE_RESOURCE = Resource("services", "/api/v1/services", SERVICES)
REPLICASET_RESOURCE = Resource(
    "replicasets", "/apis/apps/v1/replicasets", OWNERS, METADATA_LIST, METADATA_WATCH
)
JOB_RESOURCE = Resource("jobs", "/apis/batch/v1/jobs", OWNERS, METADATA_LIST, METADATA_WATCH)
