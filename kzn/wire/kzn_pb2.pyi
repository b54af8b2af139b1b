from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ToServer(_message.Message):
    __slots__ = ("hello", "batch", "addresses")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    batch: FlowBatch
    addresses: NodeAddresses
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., batch: _Optional[_Union[FlowBatch, _Mapping]] = ..., addresses: _Optional[_Union[NodeAddresses, _Mapping]] = ...) -> None: ...

class ToAgent(_message.Message):
    __slots__ = ("welcome", "refusal", "ack")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    refusal: Refusal
    ack: Ack
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., refusal: _Optional[_Union[Refusal, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("protocol", "node", "epoch", "token", "agent_version", "probe", "process", "interval_ms")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    PROBE_FIELD_NUMBER: _ClassVar[int]
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_MS_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    node: str
    epoch: int
    token: str
    agent_version: str
    probe: str
    process: int
    interval_ms: int
    def __init__(self, protocol: _Optional[int] = ..., node: _Optional[str] = ..., epoch: _Optional[int] = ..., token: _Optional[str] = ..., agent_version: _Optional[str] = ..., probe: _Optional[str] = ..., process: _Optional[int] = ..., interval_ms: _Optional[int] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("protocol", "last_applied", "max_frame", "max_flows", "max_addresses", "instance", "max_node_addresses", "compressions")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    LAST_APPLIED_FIELD_NUMBER: _ClassVar[int]
    MAX_FRAME_FIELD_NUMBER: _ClassVar[int]
    MAX_FLOWS_FIELD_NUMBER: _ClassVar[int]
    MAX_ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    MAX_NODE_ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    COMPRESSIONS_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    last_applied: int
    max_frame: int
    max_flows: int
    max_addresses: int
    instance: int
    max_node_addresses: int
    compressions: int
    def __init__(self, protocol: _Optional[int] = ..., last_applied: _Optional[int] = ..., max_frame: _Optional[int] = ..., max_flows: _Optional[int] = ..., max_addresses: _Optional[int] = ..., instance: _Optional[int] = ..., max_node_addresses: _Optional[int] = ..., compressions: _Optional[int] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("reason", "text")
    class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REASON_UNSPECIFIED: _ClassVar[Refusal.Reason]
        REASON_VERSION: _ClassVar[Refusal.Reason]
        REASON_TOKEN: _ClassVar[Refusal.Reason]
        REASON_NODE: _ClassVar[Refusal.Reason]
        REASON_MALFORMED: _ClassVar[Refusal.Reason]
        REASON_TOO_LARGE: _ClassVar[Refusal.Reason]
        REASON_UNEXPECTED: _ClassVar[Refusal.Reason]
        REASON_BUSY: _ClassVar[Refusal.Reason]
        REASON_TIMEOUT: _ClassVar[Refusal.Reason]
        REASON_SHUTTING_DOWN: _ClassVar[Refusal.Reason]
        REASON_INTERNAL: _ClassVar[Refusal.Reason]
        REASON_SECOND_AGENT: _ClassVar[Refusal.Reason]
    REASON_UNSPECIFIED: Refusal.Reason
    REASON_VERSION: Refusal.Reason
    REASON_TOKEN: Refusal.Reason
    REASON_NODE: Refusal.Reason
    REASON_MALFORMED: Refusal.Reason
    REASON_TOO_LARGE: Refusal.Reason
    REASON_UNEXPECTED: Refusal.Reason
    REASON_BUSY: Refusal.Reason
    REASON_TIMEOUT: Refusal.Reason
    REASON_SHUTTING_DOWN: Refusal.Reason
    REASON_INTERNAL: Refusal.Reason
    REASON_SECOND_AGENT: Refusal.Reason
    REASON_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    reason: Refusal.Reason
    text: str
    def __init__(self, reason: _Optional[_Union[Refusal.Reason, str]] = ..., text: _Optional[str] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("sequence", "duplicate")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    duplicate: bool
    def __init__(self, sequence: _Optional[int] = ..., duplicate: bool = ...) -> None: ...

class NodeAddresses(_message.Message):
    __slots__ = ("addresses",)
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    addresses: bytes
    def __init__(self, addresses: _Optional[bytes] = ...) -> None: ...

class FlowBatch(_message.Message):
    __slots__ = ("sequence", "opened_ms_ago", "closed_ms_ago", "flows", "ipv4", "ipv6", "planes", "columns", "totals", "via_planes", "via", "sender_planes", "sender", "compression")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    OPENED_MS_AGO_FIELD_NUMBER: _ClassVar[int]
    CLOSED_MS_AGO_FIELD_NUMBER: _ClassVar[int]
    FLOWS_FIELD_NUMBER: _ClassVar[int]
    IPV4_FIELD_NUMBER: _ClassVar[int]
    IPV6_FIELD_NUMBER: _ClassVar[int]
    PLANES_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    VIA_PLANES_FIELD_NUMBER: _ClassVar[int]
    VIA_FIELD_NUMBER: _ClassVar[int]
    SENDER_PLANES_FIELD_NUMBER: _ClassVar[int]
    SENDER_FIELD_NUMBER: _ClassVar[int]
    COMPRESSION_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    opened_ms_ago: int
    closed_ms_ago: int
    flows: int
    ipv4: int
    ipv6: int
    planes: int
    columns: bytes
    totals: bytes
    via_planes: int
    via: bytes
    sender_planes: int
    sender: bytes
    compression: int
    def __init__(self, sequence: _Optional[int] = ..., opened_ms_ago: _Optional[int] = ..., closed_ms_ago: _Optional[int] = ..., flows: _Optional[int] = ..., ipv4: _Optional[int] = ..., ipv6: _Optional[int] = ..., planes: _Optional[int] = ..., columns: _Optional[bytes] = ..., totals: _Optional[bytes] = ..., via_planes: _Optional[int] = ..., via: _Optional[bytes] = ..., sender_planes: _Optional[int] = ..., sender: _Optional[bytes] = ..., compression: _Optional[int] = ...) -> None: ...

class Totals(_message.Message):
    __slots__ = ("total",)
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    total: _containers.RepeatedCompositeFieldContainer[Total]
    def __init__(self, total: _Optional[_Iterable[_Union[Total, _Mapping]]] = ...) -> None: ...

class Total(_message.Message):
    __slots__ = ("kind", "reason", "packets", "bytes")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[Total.Kind]
        KIND_SEEN: _ClassVar[Total.Kind]
        KIND_MISSED: _ClassVar[Total.Kind]
        KIND_IGNORED: _ClassVar[Total.Kind]
    KIND_UNSPECIFIED: Total.Kind
    KIND_SEEN: Total.Kind
    KIND_MISSED: Total.Kind
    KIND_IGNORED: Total.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    PACKETS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    kind: Total.Kind
    reason: str
    packets: int
    bytes: int
    def __init__(self, kind: _Optional[_Union[Total.Kind, str]] = ..., reason: _Optional[str] = ..., packets: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...
