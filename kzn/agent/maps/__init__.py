"""The BPF maps of one epoch, and the batch that is cut from them.

In: map descriptors (pins installs them). Out: `Batch`, one at a time.
Never: a buffer cleared before the server has acknowledged its batch.
Files: structs (layouts shared with C), mapset (descriptors, control, state), rows and buffers (read
and clear), senders and input_devices (the pod behind a device), columns (rows to `Flows`), spool
(cut and acknowledge), memory (of a set in the kernel). Programs load before numpy is imported
(main.py), so structs, mapset and senders do not import it.
"""
