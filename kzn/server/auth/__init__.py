"""Authentication of agents: off, by ServiceAccount token, or by client certificate.

In: an agent's Hello, its address and TLS certificate. Out: a `Permit` with an end, or a refusal.
Never: a permit for a node other than the agent's own, unless authentication is off.

Files: permit (values), tokens (TokenReview and its cache), authenticator (the decision).
"""
