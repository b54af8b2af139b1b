"""Which endpoint had an address at a time, and its zone: from Kubernetes and a static file.

In: objects of the Kubernetes API, a YAML file. Out: `index.AddressIndex`, which implements
`kzn.model.endpoint.EndpointIndex`. Never: traffic, or a write to the API except TokenReviews.
Files: kube/ and static/ (sources), source (their protocol), facts, index, records (pods and nodes),
ownership/ (owners of an address over time), networks (Services, CIDRs), agent_addresses,
noted_addresses (of annotations), zones (ids and a default), groups (teams of workloads), describe
(facts to endpoints), tables/ (arrays).
"""
