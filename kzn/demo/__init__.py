"""The lab: zones of network namespaces on this machine, real packets, and the demo on top."""
