"""Findings about the kernel: each feature is looked up by name, never inferred from the version."""

from collections.abc import Iterator

from kzn.agent.doctor.finding import Finding, Host, text_of
from kzn.probes import support
from kzn.probes.declaration import Probe

TCX = "BPF_TCX_EGRESS"
CLSACT = "clsact_init"


def features(host: Host, probe: Probe) -> Iterator[Finding]:
    """BTF, and the hooks and kfuncs that it lists."""
    btf = host.sys / "kernel/btf/vmlinux"
    if not btf.exists():
        yield Finding(
            "BTF",
            "fail",
            f"this kernel has no BTF ({btf} does not exist)",
            "it needs a kernel built with CONFIG_DEBUG_INFO_BTF=y; in a container mount the"
            " host's /sys/kernel/btf",
        )
        return
    needed = [feature.btf_type for feature in probe.features]
    names = [*needed, *probe.kind.kernel_functions, TCX, CLSACT]
    found = {name.decode() for name in support.btf_names(btf, [n.encode() for n in names])}
    yield Finding("BTF", "ok", f"{btf} exists")
    for feature in probe.features:
        yield _feature(feature.meaning, feature.btf_type, feature.hint, found)
    if probe.kind.kernel_functions:
        yield _kfuncs(probe.kind.kernel_functions, found)
    yield _other_hook("tcx", TCX in found, "this kernel has tcx, the hook of the probe tcx")
    has_clsact = CLSACT in found or host.has_module("sch_ingress") or _has_file(host, "sch_ingress")
    yield _other_hook(
        "clsact", has_clsact, "this kernel has the qdisc clsact, the hook of the probe clsact"
    )


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
        f"this kernel has no {', '.join(missing)}, with which the program reads packets",
        "the node needs a newer kernel",
    )


def _other_hook(name: str, is_there: bool, sentence: str) -> Finding:
    if is_there:
        return Finding(name, "ok", sentence)
    return Finding(
        name, "warn", f"this kernel has no {name}", "nothing to do if another probe can run here"
    )


def _has_file(host: Host, module: str) -> bool:
    """Whether the running kernel has a module on disk or built in, by its lists of modules."""
    release = text_of(host.proc / "sys/kernel/osrelease")
    folder = host.modules / (release or "none")
    lists = (text_of(folder / name) or "" for name in ("modules.builtin", "modules.dep"))
    return any(f"/{module}.ko" in text for text in lists)


def jit(host: Host) -> Iterator[Finding]:
    """Whether the JIT compiles programs; interpreted ones cannot call kfuncs."""
    value = host.sysctl("net/core/bpf_jit_enable")
    if value is None:
        message = "only the initial network namespace shows net.core.bpf_jit_enable"
        yield Finding("JIT", "unknown", f"{message}; the trial load decides")
    elif value == "0":
        message = "net.core.bpf_jit_enable is 0: programs that call kernel functions do not load"
        yield Finding("JIT", "fail", message, "sysctl -w net.core.bpf_jit_enable=1")
    else:
        yield Finding("JIT", "ok", f"net.core.bpf_jit_enable is {value}")


def confinement(host: Host) -> Iterator[Finding]:
    """Whether unprivileged users may load BPF programs, and the lockdown mode."""
    value = host.sysctl("kernel/unprivileged_bpf_disabled")
    if value == "0":
        message = "any user may load some types of BPF programs; kzn does not need that"
        hint = "sysctl -w kernel.unprivileged_bpf_disabled=2"
        yield Finding("unprivileged BPF", "warn", message, hint)
    elif value is None:
        message = "kernel.unprivileged_bpf_disabled cannot be read"
        yield Finding("unprivileged BPF", "unknown", message)
    else:
        message = "only privileged processes may load BPF programs; kzn agent is one"
        yield Finding("unprivileged BPF", "ok", message)
    yield _lockdown(text_of(host.sys / "kernel/security/lockdown"))


def _lockdown(text: str | None) -> Finding:
    if text is None:
        message = "securityfs is not mounted or shows no lockdown; the trial load decides"
        return Finding("lockdown", "unknown", message)
    mode = text.partition("[")[2].partition("]")[0] or text
    if mode == "confidentiality":
        message = "lockdown mode is confidentiality, in which BPF may not read kernel memory"
        hint = "boot with lockdown=integrity if the trial load fails"
        return Finding("lockdown", "warn", message, hint)
    return Finding("lockdown", "ok", f"lockdown mode is {mode}")
