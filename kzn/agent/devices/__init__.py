"""The node's network devices: which lead off the node, what they have sent, their tc filters.

In: the network namespace of the calling thread. Out: `Device`, `Sent`, filters on devices.
Never: pyroute2 in the agent's process; a filter or qdisc that kzn did not create.
Files: netlink_child (lists devices and routes), uplinks (decides which lead off), uplink_watch
(asks again after each change), link_stats (counters), tc_filters (attach and detach).
"""
