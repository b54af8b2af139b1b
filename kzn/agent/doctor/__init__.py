"""`kzn doctor`: checks whether this node can run the agent, what bypasses the hook, and what to do.

In: an `Examination` (where to look, which probe). Out: `Finding`s.
Never: changes the node; the proof attaches a probe for a moment, without pins.
Files: finding (the value, where to look), kernel, process, devices, network, bypass, attached (one
group of checks each), proof (the self-test in words), examine (runs them in order).
"""
