"""Builds Vagrant boxes for libvirt of Debian packages: ``python tests/vm/box.py [VERSION ...]``.

A box has the root file system of a guest of run.py on a disk, with systemd and sshd. It contains
all packages that the suite needs, so `vagrant provision` fetches nothing. Needs root, e2fsprogs,
qemu-utils and mmdebstrap.

    python tests/vm/box.py --out boxes 6.1
    vagrant box add --name kzn-linux-6-1 boxes/kzn-linux-6-1.box
    KZN_BOX=kzn vagrant up linux-6-1 && KZN_BOX=kzn vagrant provision linux-6-1
"""

import argparse
import json
import lzma
import os
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from debian import SUITES, Kernel, kernel, run
from initramfs import write
from rootfs import PACKAGES, bootstrap, packages_hooks
from run import CACHE

TOOLS = {"mke2fs": "e2fsprogs", "mmdebstrap": "mmdebstrap", "qemu-img": "qemu-utils"}
GIGABYTES = 8
MORE_PACKAGES = (
    "busybox-static",  # for the initramfs
    "dbus",
    "openssh-server",
    "rsync",
    "sudo",
    "systemd-sysv",
    "udev",
)
ROOT_MODULES = ("virtio_pci", "virtio_blk", "crc32c_generic", "ext4")
"""Modules needed to mount the root; those built in or no longer existing are left out."""

KEY = (
    "ssh-rsa AAAAB3NzaC1yc2EAAAABIwAAAQEA6NF8iallvQVp22WDkTkyrtvp9eWW6A8YVr+kz4TjGYe7gHzIw+niNltGE"
    "FHzD8+v1I2YJ6oXevct1YeS0o9HZyN1Q9qgCgzUFtdOKLv6IedplqoPkcmF0aYet2PkEDo3MlTBckFXPITAMzF8dJSIFo9"
    "D8HfdOV0IAdx4O7PtixWKn5y2hMNG0zQPyUecp4pzC6kivAIhyfHilFR61RGL+GPXQ2MWZWFYbAGjyiYJnAmCP3NOTd0jM"
    "ZEnDkbUvxhMmBYSdETk1rRgm+R4LOzFUGaHqHDLKLX+FIPKcF96hrucXzcWyLbIbEgE98OHlnVYCzRdK8jlqm8tehUc9c9"
    "WhQ== vagrant insecure public key"
)
"""The public key of Vagrant, which replaces it by a new one at the first `vagrant up`."""

FILES = {
    "etc/fstab": "/dev/vda / ext4 defaults 0 1\n",
    "etc/hostname": "kzn\n",
    "etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "etc/sudoers.d/vagrant": "vagrant ALL=(ALL) NOPASSWD: ALL\n",
    "etc/ssh/sshd_config.d/vagrant.conf": "UseDNS no\n",
    "etc/systemd/network/wired.network": "[Match]\nType=ether\nKind=!*\n[Network]\nDHCP=ipv4\n",
    "home/vagrant/.ssh/authorized_keys": f"{KEY}\n",
}
SETTLE = """
useradd --create-home --shell /bin/bash vagrant
chmod 0440 /etc/sudoers.d/vagrant
chown -R vagrant: /home/vagrant
chmod 0700 /home/vagrant/.ssh
systemctl enable systemd-networkd ssh
"""
INIT = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
for module in $(/bin/busybox cat /modules/order); do
	/bin/busybox insmod "/modules/$module"
done
tries=0
until [ -b /dev/vda ] || [ $tries -ge 100 ]; do
	/bin/busybox sleep 0.1
	tries=$((tries + 1))
done
/bin/busybox mount -t ext4 /dev/vda /root || exec /bin/busybox sh
/bin/busybox mount --move /dev /root/dev
/bin/busybox umount /proc
exec /bin/busybox switch_root /root /sbin/init
"""
VAGRANTFILE = """Vagrant.configure("2") do |config|
  config.vm.provider(:libvirt) do |machine|
    machine.kernel = File.join(__dir__, "vmlinuz")
    machine.initrd = File.join(__dir__, "initrd.img")
    machine.cmd_line = "root=/dev/vda console=ttyS0 quiet"
  end
end
"""


def box(version: str, out: Path, work: Path) -> Path:
    """Build the box of one kernel and return its path."""
    chosen = kernel(version, CACHE)
    tree = work / "tree"
    _tree(tree, chosen, work)
    _initrd(work / "initrd.img", chosen, tree / "usr/bin/busybox")
    run("mke2fs", "-q", "-t", "ext4", "-d", tree, work / "raw", f"{GIGABYTES}G")
    run("qemu-img", "convert", "-c", "-O", "qcow2", work / "raw", work / "box.img")
    shutil.copy(chosen.image, work / "vmlinuz")
    (work / "Vagrantfile").write_text(VAGRANTFILE)
    about = {"provider": "libvirt", "format": "qcow2", "virtual_size": GIGABYTES}
    (work / "metadata.json").write_text(json.dumps(about))
    target = out / f"kzn-linux-{version.replace('.', '-')}.box"
    with tarfile.open(target, "w") as archive:
        for name in ("metadata.json", "Vagrantfile", "vmlinuz", "initrd.img", "box.img"):
            archive.add(work / name, name)
    return target


def _tree(tree: Path, chosen: Kernel, work: Path) -> None:
    extra = work / "extra"
    for name, text in FILES.items():
        path = extra / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    modules = f"usr/lib/modules/{chosen.release}"
    (extra / modules).parent.mkdir(parents=True)
    shutil.copytree(chosen.modules, extra / modules, symlinks=True)
    shutil.chown(extra, "root", "root")
    bootstrap(
        tree,
        (*PACKAGES, *MORE_PACKAGES),
        hooks=(
            *packages_hooks(work / "packages"),
            f'cp -a {extra}/. "$1/"',
            f"chroot \"$1\" sh -eu -c '{SETTLE}'",
        ),
    )


def _initrd(target: Path, chosen: Kernel, busybox: Path) -> None:
    """Write the initramfs that mounts the root; it loads a fixed list of modules, in order."""
    order = list(_order(chosen.modules))
    files = {
        "init": (0o100755, INIT.encode()),
        "bin/busybox": (0o100755, busybox.read_bytes()),
        "modules/order": (0o100644, "\n".join(path.name for path in order).encode()),
    }
    files |= {f"{name}/.keep": (0o100644, b"") for name in ("dev", "proc", "root")}
    for path in order:
        content = path.read_bytes()
        if path.suffix == ".xz":
            content = lzma.decompress(content)
        files[f"modules/{path.name}"] = (0o100644, content)
    write(target, [], files)


def _order(modules: Path) -> Iterator[Path]:
    """The modules of `ROOT_MODULES` and their dependencies, dependencies first (modules.dep(5))."""
    needs = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        name, _, others = line.partition(":")
        needs[Path(name).name.partition(".")[0]] = [*reversed(others.split()), name]
    done = set()
    for module in ROOT_MODULES:
        for name in needs.get(module, []):
            if name not in done:
                done.add(name)
                yield modules / name


def main() -> int:
    """Build the boxes of the kernels named as arguments; of all by default."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("versions", nargs="*", metavar="VERSION", help=", ".join(SUITES))
    parser.add_argument("--out", type=Path, default=Path(), help="folder for the boxes")
    given = parser.parse_args()
    missing = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if missing or os.geteuid() != 0:
        parser.error(f"building boxes requires root and the packages {', '.join(TOOLS.values())}")
    CACHE.mkdir(parents=True, exist_ok=True)
    given.out.mkdir(parents=True, exist_ok=True)
    for version in given.versions or SUITES:
        with tempfile.TemporaryDirectory(dir=CACHE) as work:
            print(box(version, given.out, Path(work)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
