"""Findings about the kernel: each feature is asked for by its name, never by a release."""

from collections.abc import Iterator

from kzn.agent.doctor.finding import Finding, Host, text_of
from kzn.probes import support
from kzn.probes.declaration import Probe

TCX = "BPF_TCX_EGRESS"
CLSACT = "clsact_init"


def features(host: Host, probe: Probe) -> Iterator[Finding]:
    """BTF, and what it says that this kernel has: hooks and kfuncs."""
    btf = host.sys / "kernel/btf/vmlinux"
    if not btf.exists():
        yield Finding(
            "BTF",
            "fail",
            f"this kernel tells no types of its own ({btf} is not there)",
            "it needs a kernel built with CONFIG_DEBUG_INFO_BTF=y; in a container mount the"
            " host's /sys/kernel/btf",
        )
        return
    needed = [feature.btf_type for feature in probe.features]
    names = [*needed, *probe.kind.kernel_functions, TCX, CLSACT]
    found = {name.decode() for name in support.btf_names(btf, [n.encode() for n in names])}
    yield Finding("BTF", "ok", f"{btf} is there")
    for feature in probe.features:
        yield _feature(feature.meaning, feature.btf_type, feature.hint, found)
    if probe.kind.kernel_functions:
        yield _kfuncs(probe.kind.kernel_functions, found)
    yield _other_hook("tcx", TCX in found, "this kernel has tcx, from which a probe could count")
    has_clsact = CLSACT in found or host.has_module("sch_ingress") or _has_file(host, "sch_ingress")
    yield _other_hook("clsact", has_clsact, "this kernel has the qdisc clsact")


def _feature(meaning: str, btf_type: str, hint: str, found: set[str]) -> Finding:
    if btf_type in found:
        return Finding("hook", "ok", f"this kernel has {meaning} ({btf_type})")
    return Finding("hook", "fail", f"this kernel has no {meaning} ({btf_type})", hint)


def _kfuncs(needed: tuple[str, ...], found: set[str]) -> Finding:
    missing = [name for name in needed if name not in found]
    if not missing:
        return Finding("kfuncs", "ok", f"this kernel has {', '.join(needed)}")
    return Finding(
        "kfuncs",
        "fail",
        f"this kernel has no {', '.join(missing)}, by which the program reads packets",
        "the node needs a newer kernel",
    )


def _other_hook(name: str, is_there: bool, sentence: str) -> Finding:
    if is_there:
        return Finding(name, "ok", sentence)
    return Finding(
        name, "warn", f"no trace of {name} in this kernel", "nothing, while another probe counts"
    )


def _has_file(host: Host, module: str) -> bool:
    """Whether the running kernel has a module on disk, or built in by the list beside them."""
    release = text_of(host.proc / "sys/kernel/osrelease")
    folder = host.modules / (release or "none")
    lists = (text_of(folder / name) or "" for name in ("modules.builtin", "modules.dep"))
    return any(f"/{module}.ko" in text for text in lists)


def jit(host: Host) -> Iterator[Finding]:
    """Whether programs are compiled; interpreted ones cannot call kfuncs."""
    value = host.sysctl("net/core/bpf_jit_enable")
    if value is None:
        message = "only the machine's first network namespace shows net.core.bpf_jit_enable"
        yield Finding("JIT", "unknown", f"{message}; the trial load decides")
    elif value == "0":
        message = "net.core.bpf_jit_enable is 0: programs that call kernel functions do not load"
        yield Finding("JIT", "fail", message, "sysctl -w net.core.bpf_jit_enable=1")
    else:
        yield Finding("JIT", "ok", f"net.core.bpf_jit_enable is {value}")


def confinement(host: Host) -> Iterator[Finding]:
    """Who may load programs, and what lockdown forbids them."""
    value = host.sysctl("kernel/unprivileged_bpf_disabled")
    if value == "0":
        message = "any user may load some kinds of BPF programs; kzn does not need that"
        hint = "sysctl -w kernel.unprivileged_bpf_disabled=2"
        yield Finding("unprivileged BPF", "warn", message, hint)
    elif value is None:
        message = "kernel.unprivileged_bpf_disabled cannot be seen"
        yield Finding("unprivileged BPF", "unknown", message)
    else:
        message = "only privileged processes may load BPF programs, as kzn agent is one"
        yield Finding("unprivileged BPF", "ok", message)
    yield _lockdown(text_of(host.sys / "kernel/security/lockdown"))


def _lockdown(text: str | None) -> Finding:
    if text is None:
        message = "securityfs does not tell (not mounted, or no lockdown); the trial load decides"
        return Finding("lockdown", "unknown", message)
    mode = text.partition("[")[2].partition("]")[0] or text
    if mode == "confidentiality":
        message = "lockdown is in mode confidentiality, which keeps BPF from reading the kernel"
        hint = "boot with lockdown=integrity if the trial load fails"
        return Finding("lockdown", "warn", message, hint)
    return Finding("lockdown", "ok", f"lockdown mode is {mode}")
