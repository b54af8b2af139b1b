"""The labels and annotations that name groups (``--group-label``), of pods and namespaces.

In: keys. Out: codecs whose facts have ``groups``: for each key the value of the label, else of the
annotation. Never: another label or annotation decoded, which can be many and long.
"""

from collections.abc import Sequence
from functools import lru_cache
from sys import intern
from typing import Any

import msgspec

from kzn.topology.facts import NamespaceFacts, PodFacts
from kzn.topology.groups import MAX_VALUE, Values
from kzn.topology.kube.api_objects import (
    Earliest,
    Json,
    Meta,
    Pod,
    PodAnnotations,
    PodMeta,
    pod_facts,
    version_number,
)
from kzn.topology.kube.decode import Codec
from kzn.topology.kube.resources import METADATA_LIST, METADATA_WATCH, Resource

_SHARED = 4096
"""Tuples of values of which one copy is kept: a cluster has few teams and many pods."""
_READ_OTHERWISE = tuple(field.encode_name for field in msgspec.structs.fields(PodAnnotations))


class GroupLabels:
    """Decoders for ``keys``, which are keys of labels that differ."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._names = [f"group{number}" for number, _ in enumerate(keys)]
        # An annotation that is read for another purpose keeps its own field.
        self._noted = [
            _field_of(key) if key in _READ_OTHERWISE else name
            for key, name in zip(keys, self._names, strict=True)
        ]
        own = [
            (name, str | None, msgspec.field(default=None, name=key))
            for key, name in zip(keys, self._names, strict=True)
        ]
        annotations = [one for one, name in zip(own, self._noted, strict=True) if one[0] == name]
        labels = msgspec.defstruct("Labels", own, bases=(Json,), gc=False)
        noted = msgspec.defstruct("Noted", annotations, bases=(PodAnnotations,), gc=False)
        fields: list[Any] = [("labels", labels | None, None), ("annotations", noted | None, None)]
        pod_meta = msgspec.defstruct("PodMetaWithGroups", fields, bases=(PodMeta,), gc=False)
        meta = msgspec.defstruct("MetaWithGroups", fields, bases=(Meta,), gc=False)
        self._pod = msgspec.defstruct(
            "PodWithGroups", [("metadata", pod_meta)], bases=(Pod,), gc=False
        )
        self._namespace = msgspec.defstruct(
            "NamespaceWithGroups", [("metadata", meta)], bases=(Json,), gc=False
        )
        self._shared = lru_cache(_SHARED)(lambda *values: values)

    def pods(self, earliest: Earliest) -> Codec[Any, PodFacts]:
        """Pods with their groups; ``earliest`` as in `pod_facts`."""
        return Codec(self._pod, lambda pod: pod_facts(pod, earliest, self._values(pod.metadata)))

    def namespaces(self) -> Resource[Any, NamespaceFacts]:
        """Namespaces with their groups."""
        codec: Codec[Any, NamespaceFacts] = Codec(self._namespace, self._namespace_facts)
        return Resource("namespaces", "/api/v1/namespaces", codec, METADATA_LIST, METADATA_WATCH)

    def _namespace_facts(self, namespace: Any) -> NamespaceFacts:
        meta = namespace.metadata
        return NamespaceFacts(
            uid=meta.uid,
            name=intern(meta.name),
            groups=self._values(meta),
            version=version_number(meta.resource_version),
        )

    def _values(self, meta: Any) -> Values:
        found = []
        for name, noted in zip(self._names, self._noted, strict=True):
            value = getattr(meta.labels, name, None) or getattr(meta.annotations, noted, None)
            found.append(intern(_printable(value or "")))
        return self._shared(*found) if any(found) else ()


def _printable(value: str) -> str:
    """Of an annotation, which can have any text, what a label of a metric can be read with."""
    shown = value[: 4 * MAX_VALUE].strip()
    if not shown.isprintable():
        shown = "".join(filter(str.isprintable, shown))
    return shown[:MAX_VALUE]


def _field_of(key: str) -> str:
    fields = msgspec.structs.fields(PodAnnotations)
    return next(field.name for field in fields if field.encode_name == key)
