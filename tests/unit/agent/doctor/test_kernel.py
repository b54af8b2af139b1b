"""Findings about the kernel, from files that stand for /proc and /sys."""

from pathlib import Path

import pytest

from kzn.agent.doctor import kernel
from kzn.agent.doctor.finding import Finding, Host, State, checked
from kzn.errors import KernelError
from kzn.probes.postrouting import PROBE

ALL = ("bpf_nf_ctx", *PROBE.kind.kernel_functions, kernel.TCX, kernel.CLSACT)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "proc", tmp_path / "sys", tmp_path / "run", tmp_path / "modules")


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def btf(host: Host, *names: str) -> None:
    put(host.sys / "kernel/btf/vmlinux", "\0".join(["", *names, ""]))


def states(findings: list[Finding]) -> dict[str, State]:
    return {finding.name: finding.state for finding in findings}


def test_a_kernel_that_has_everything_is_ok(host: Host) -> None:
    btf(host, *ALL)
    found = list(kernel.features(host, PROBE))
    assert states(found) == dict.fromkeys(("BTF", "hook", "kfuncs", "tcx", "clsact"), "ok")


def test_without_btf_there_is_one_failure_with_a_hint(host: Host) -> None:
    [finding] = kernel.features(host, PROBE)
    assert (finding.name, finding.state) == ("BTF", "fail")
    assert "CONFIG_DEBUG_INFO_BTF=y" in finding.hint


@pytest.mark.parametrize(
    ("missing", "name", "state"),
    [
        ("bpf_nf_ctx", "hook", "fail"),
        ("bpf_rdonly_cast", "kfuncs", "fail"),
        ("bpf_dynptr_slice", "kfuncs", "fail"),
        (kernel.TCX, "tcx", "warn"),
        (kernel.CLSACT, "clsact", "warn"),
    ],
)
def test_a_missing_feature_is_its_own_finding(
    host: Host, missing: str, name: str, state: State
) -> None:
    btf(host, *(word for word in ALL if word != missing))
    found = {finding.name: finding for finding in kernel.features(host, PROBE)}
    assert found[name].state == state
    assert found[name].hint
    assert [other for other, finding in found.items() if finding.state != "ok"] == [name]


@pytest.mark.parametrize("where", ["sys/module/sch_ingress/x", "modules/6.9/modules.dep"])
def test_clsact_may_be_a_module_that_is_loaded_or_on_disk(host: Host, where: str) -> None:
    btf(host, *(word for word in ALL if word != kernel.CLSACT))
    put(host.proc / "sys/kernel/osrelease", "6.9\n")
    put(host.proc.parent / where, "kernel/net/sched/sch_ingress.ko.xz: \n")
    assert states(list(kernel.features(host, PROBE)))["clsact"] == "ok"


@pytest.mark.parametrize(("value", "state"), [("1", "ok"), ("0", "fail"), (None, "unknown")])
def test_without_the_jit_programs_cannot_call_kfuncs(
    host: Host, value: str | None, state: State
) -> None:
    if value is not None:
        put(host.proc / "sys/net/core/bpf_jit_enable", value)
    assert states(list(kernel.jit(host))) == {"JIT": state}


@pytest.mark.parametrize(
    ("disabled", "lockdown", "expected"),
    [
        ("2", "[none] integrity confidentiality", ("ok", "ok")),
        ("1", "none [integrity] confidentiality", ("ok", "ok")),
        ("0", "none integrity [confidentiality]", ("warn", "warn")),
        (None, None, ("unknown", "unknown")),
    ],
)
def test_unprivileged_bpf_and_lockdown_confidentiality_are_warnings(
    host: Host, disabled: str | None, lockdown: str | None, expected: tuple[State, State]
) -> None:
    if disabled is not None and lockdown is not None:
        put(host.proc / "sys/kernel/unprivileged_bpf_disabled", disabled)
        put(host.sys / "kernel/security/lockdown", lockdown)
    found = states(list(kernel.confinement(host)))
    assert (found["unprivileged BPF"], found["lockdown"]) == expected


@pytest.mark.parametrize(
    ("error", "message", "hint"),
    [
        (PermissionError(13, "Permission denied", "/x"), "/x: Permission denied", "run as root"),
        (OSError(5, "Input/output error"), "Input/output error", ""),
        (KernelError("list: EPERM\nlog", errno=1, hint="h"), "list: EPERM", "h"),
    ],
)
def test_a_check_that_fails_to_run_is_unknown(error: Exception, message: str, hint: str) -> None:
    def check() -> list[Finding]:
        raise error

    [finding] = checked("thing", check)
    assert (finding.name, finding.state, finding.hint) == ("thing", "unknown", hint)
    assert finding.message.startswith("could not be checked: ")
    assert finding.message.endswith(message)
