"""Authentication of agents (off, by ServiceAccount token, or by certificate) and of HTTP clients.

In: an agent's Hello, its address and certificate; HTTP requests. Out: a `Permit` with an end, or a
refusal. Never: a permit for a node other than the agent's own, unless authentication is off.

Files: permit (values), tokens (TokenReview and its cache), throttle (of refused tokens),
authenticator (the decision about an agent), http_access (about a request), open (all of it).
"""
