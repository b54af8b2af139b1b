"""Probes: what to attach, to which hooks, and what the kernel must offer; plugins of one shape.

In: entry points, a kernel. Out: `Probe` values, and a probe loaded into the kernel or attached.
Never: pins, reads or drains; that is the agent's.
Files: declaration (the value), postrouting, tcx, clsact (kzn's own), registry (which are
installed), support (which this kernel can run), layout (whether a third party's object fits),
settings, attach (load and attach), headers (for building objects).
"""
