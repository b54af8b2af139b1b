/** What to do about bytes that are not attributed, by reason (docs/metrics.md). */

export const ADVICE: Record<string, string> = {
  unknown_node: "The agent's --node is not a name that kubectl get nodes shows: compare them.",
  unknown_source: "A private source has no owner: name its network in a file for --static.",
  unknown_destination: "A private destination has no owner: name its network in a file for --static.",
  source_zone_unknown:
    "The source's node has no zone label: label it topology.kubernetes.io/zone, or see --zone-label and --default-zone.",
  destination_zone_unknown: "The destination's node has no zone label: label it, or see --zone-label.",
  region_unknown: "One end has a region and the other has none: label all nodes, or set region in --static.",
  ambiguous: "The address changed hands within an interval. A little of it is normal while pods come and go.",
  service_address: "Seen before a Service's address was translated: try another --probe on these nodes.",
  late: "Delivered after other nodes had counted it: the agent was cut off for long.",
  error: "An error in kzn: the log of the server names it. Please report it.",
  held_at_restart: "Was waiting for an owner when the server ended.",
  map_full: "More flows than --max-flows in one interval: raise it.",
  no_memory: "The kernel had no memory for a new flow: look at the node's memory.",
  busy: "The kernel's map was being changed on the same CPU.",
  parse: "The IP headers cannot be parsed.",
  dormant: "The node's maps were not drained for ten minutes: look at its agent.",
  not_in_flows: "The agent's totals exceed its flows: compare the versions of agent and server.",
  other: "A reason that this server does not know: the agent is newer.",
};

/** Why a history has no numbers for some time, by the reason of a gap (docs/api.md). */
const GAPS: Record<string, string> = {
  restart: "The server was restarted",
  queue_full: "More was counted than could be written",
  writer_gone: "The process that writes the history had ended",
  disk_full: "The disk of the history was full",
  io: "The history could not be written",
  memory: "The process that writes the history had too little memory",
  overflow: "More kinds of flows than a minute can have",
  too_late: "It came after its hour had been closed",
  fault: "An error in kzn",
  damaged: "A file of the history is damaged",
  not_by_node: "Kept by workload and not by node",
};

/** Why there is a gap, in words. */
export const gapText = (reason: string) => GAPS[reason] ?? reason;
