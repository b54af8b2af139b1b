"""What the API says of where connections go: EndpointSlices, controllers, volumes, versions.

In: the resources that a server may list. Out: a `kzn.topology.routing.Routing`, with what is
missing and why. Never: a right that is needed: without one, advice has less to go by.
Files: service, objects (decoded in part, to facts), resources (paths), following (list and watch,
or why not).
"""
