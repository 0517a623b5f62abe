"""Which file system a file lies on, from the kernel's table of mounts. SQLite's locks fail on those of the network."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

TABLE: Final = Path("/proc/self/mountinfo")

REMOTE: Final = frozenset(
    {
        "nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "coda", "ceph", "lustre", "gpfs", "beegfs", "orangefs",
        "ocfs2", "gfs", "gfs2", "glusterfs", "moosefs", "davfs", "davfs2", "sshfs", "s3fs", "gcsfuse", "goofys",
        "rclone", "mountpoint-s3", "blobfuse", "blobfuse2", "juicefs", "curlftpfs",
    }
)  # fmt: skip
SHARED: Final = frozenset(
    {"9p", "vboxsf", "vmhgfs", "vmhgfs-fuse", "prl_fs", "virtiofs", "grpcfuse", "fakeowner", "drvfs"}
)
"""Folders of another system, shown inside a virtual machine or a container."""

_ESCAPE: Final = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    point: str
    kind: str
    """As the kernel says it: `ext4`, `nfs4`, `fuse.sshfs`."""
    source: str

    @property
    def bare(self) -> str:
        return self.kind.removeprefix("fuse.").removeprefix("fuseblk.")

    @property
    def remote(self) -> bool:
        return self.bare in REMOTE

    @property
    def shared(self) -> bool:
        return self.bare in SHARED


def mount_of(path: Path, table: str) -> Mount | None:
    """The mount that a real path lies on, by the text of /proc/self/mountinfo; None if no line of it fits.

    Of several on one point the last was put over the others. A line that cannot be read is left out.
    """
    best: Mount | None = None
    for line in table.splitlines():
        mount = _parsed(line)
        if mount is None or not PurePosixPath(path).is_relative_to(mount.point):
            continue
        if best is None or len(mount.point) >= len(best.point):
            best = mount
    return best


def _parsed(line: str) -> Mount | None:
    # 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw: any number of optional fields before the dash
    before, dash, after = line.partition(" - ")
    fields, tail = before.split(" "), after.split(" ")
    if not dash or len(fields) < 6 or len(tail) < 2:
        return None
    return Mount(point=_unescaped(fields[4]), kind=tail[0], source=_unescaped(tail[1]))


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[1], 8)), text)
