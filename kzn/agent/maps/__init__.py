"""The BPF maps of one epoch, and the batch that is cut from them.

In: map descriptors (pins installs them). Out: `Batch`, one at a time.
Never: a buffer cleared before the server has acknowledged its batch.
Files: structs (layouts shared with C), mapset (descriptors, control, state), buffers (read and
clear), columns (rows to `Flows`), spool (cut and acknowledge). Programs load before numpy is
imported (main.py), so only buffers, columns and spool import it.
"""
