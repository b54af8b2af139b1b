"""Who owns an address, where and when: a static file, the Kubernetes API, and one index of both.

What the server calls::

    from kzn.topology.index import AddressIndex            # the EndpointIndex of kzn.model.endpoint
    from kzn.topology.source import TopologySource         # protocol: index, ready, run(), stats()
    from kzn.topology.static.file import StaticSource, load_static
    from kzn.topology.kube.credentials import load_cluster     # imports `kubernetes` when called
    from kzn.topology.kube.source import KubernetesSource

    index = AddressIndex(clock=time.monotonic, wall=time.time)
    static = StaticSource(index, load_static(path))        # UsageError "FILE:LINE: ..."; ready
    kube = KubernetesSource(index, load_cluster())         # several sources may feed one index
    await kube.run()                                       # until cancelled; retries by itself
"""
