"""Findings about other BPF programs on the probe's hooks: which priorities are taken."""

from collections.abc import Iterable, Iterator

from kzn.agent.doctor.finding import Finding
from kzn.libbpf.links import NetfilterLinkInfo
from kzn.probes.declaration import Probe


def priorities(probe: Probe, links: Iterable[NetfilterLinkInfo]) -> Iterator[Finding]:
    """Taken priorities of the whole machine: the kernel shows no link's network namespace."""
    links = list(links)
    for hook in probe.netfilter_hooks():
        same = [link for link in links if (link.family, link.hook) == (hook.family, hook.hook)]
        taken = sorted({link.priority for link in same})
        name = f"priorities {hook.name}"
        wanted = f"{min(hook.priorities)} to {max(hook.priorities)}"
        if not taken:
            yield Finding(
                name, "ok", f"no BPF program is attached to this hook; priorities {wanted} are free"
            )
            continue
        where = f"BPF programs are at {', '.join(map(str, taken))} (in any network namespace)"
        if set(hook.priorities) <= set(taken):
            message = f"{where}: possibly none of {wanted} is free here"
            yield Finding(
                name, "warn", message, "bpftool link lists them; kzn detach removes kzn's"
            )
        else:
            yield Finding(name, "ok", where)
