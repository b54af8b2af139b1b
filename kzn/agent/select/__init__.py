"""Puts one probe into the kernel: the one that `--probe` names, or the one that `auto` selects.

In: the agent's configuration and the installed probes. Out: `AttachedProbe`, which alone ships.
Never: a probe loaded after that, or a packet in the batches of two probes.
Files: attach (the states below), candidates (which can run here), trial (what each one sees),
selftest (packets of kzn's own), decide (pure), takeover (one pinned set replaces another), preview
(what `kzn probes` and `kzn doctor` show).

    start ── named ──────────────────────────────────────────────────────► attach it ──┐
      │ auto                                                                           │
    candidates ── none ──► exit 3                                                      │
      │                                                                                │
    is one pinned, and not doubted? ── yes, and it attaches ─────────────► keep it ────┤
      │ no                                                                             │
    trial: all attached side by side, their counts compared with the uplinks' counters │
      │    for 1 s, or 10 s after a suspicion; by test packets where little is sent    │
    decide: what facts say to miss pods' packets comes last (devices/datapath)         │
      ├────── for the pinned one ────────────────────────────────────────► keep it ────┤
      │ for another one                                                                │
    takeover: switch at one instant, retire the old set ───────────────────────────────┤
                                                                                       ▼
    start of the next agent ◄── exit 1, with a note ◄── coverage/watchdog ◄────── counting
                                of the suspicion        (five low ratios in a row, or the first
                                                        where no trial saw the node's traffic;
                                                        another probe to try, and no trial in
                                                        the last hour)

With `--keep-capabilities` the process starts its own program again in place of exit 1 (main.py).

A pinned probe is doubted if an agent saw it miss traffic, or if facts say that pods' packets pass
it by and another probe could see them. The notes (pins/notes.py) outlive the agent; each trial
clears the suspicion.
"""
