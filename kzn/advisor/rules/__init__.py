"""The rules that kzn ships, one file each: signature, arithmetic, risks (docs/advice.md).

In: a `kzn.advisor.world.World`. Out: drafts. Never: a draft that the data does not show.
Folders: services (what a field of a Service changes), placement (where pods run), clients (what the
application or its configuration changes).
"""
