"""Where a file lies, told from what kernels really print."""

from __future__ import annotations

from pathlib import Path

import pytest

from power_loop.store.sqlite.doctor.files import filesystem
from power_loop.store.sqlite.doctor.findings import Grade
from power_loop.store.sqlite.doctor.mounts import TABLE, mount_of

SERVER = r"""22 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw,errors=remount-ro
23 22 0:21 / /proc rw,nosuid,nodev,noexec,relatime shared:13 - proc proc rw
45 22 0:40 / /srv/nfs rw,relatime shared:50 - nfs4 10.0.0.5:/export rw,vers=4.2,hard,proto=tcp
46 45 8:17 / /srv/nfs/local rw,relatime shared:51 - xfs /dev/sdb1 rw,attr2,inode64
47 22 0:41 / /mnt/win\040share rw,relatime shared:52 - cifs //server/share rw,vers=3.1.1,cache=strict
48 22 0:42 / /home/ann/far rw,nosuid,nodev,relatime shared:53 - fuse.sshfs ann@far:/srv rw,user_id=1000,group_id=1000
49 22 0:43 / /mnt/old rw,relatime shared:54 master:7 propagate_from:2 - nfs old:/x rw,vers=3
50 22 8:33 / /mnt/old rw,relatime shared:55 - ext4 /dev/sdc1 rw
51 22 0:44 / /mnt/usb rw,relatime shared:56 - fuseblk /dev/sdd1 rw,user_id=0,group_id=0
52 22 0:45 / /mnt/gluster rw,relatime shared:57 - fuse.glusterfs vol:/v rw
53 22 0:46 / /mnt/ceph rw,relatime shared:58 - ceph 10.0.0.1:6789:/ rw,name=admin
54 22 0:47 / /mnt/lustre rw,relatime shared:59 - lustre 10.0.0.2@tcp:/fs rw
"""
CONTAINER = r"""1012 870 0:181 / / rw,relatime master:402 - overlay overlay rw,lowerdir=/var/lib/l/A:/var/lib/B
1013 1012 0:184 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw
1020 1012 254:1 /docker/volumes/data/_data /data rw,relatime master:30 - ext4 /dev/vda1 rw
1021 1012 0:56 / /jobs rw,relatime - virtiofs host rw
1022 1012 0:57 / /shared rw,relatime - fakeowner /run/host_mark/Users rw,fakeowner
"""
WSL = r"""100 90 8:32 / / rw,relatime - ext4 /dev/sdc rw,discard,errors=remount-ro,data=ordered
101 100 0:60 / /mnt/c rw,noatime - 9p C:\134 rw,dirsync,aname=drvfs;path=C:\;uid=1000;gid=1000,access=client,trans=fd
"""


@pytest.mark.parametrize(
    ("table", "path", "kind", "grade", "words"),
    [
        (SERVER, "/home/bob/agent.db", "ext4", Grade.OK, "ext4, mounted at / from /dev/sda2"),
        (SERVER, "/srv/nfs/agent.db", "nfs4", Grade.WARN, "network file system (nfs4, mounted at /srv/nfs from 10."),
        (SERVER, "/srv/nfs/local/agent.db", "xfs", Grade.OK, "xfs"),
        (SERVER, "/srv/nfs2/agent.db", "ext4", Grade.OK, "mounted at / "),
        (SERVER, "/mnt/win share/agent.db", "cifs", Grade.WARN, "mounted at /mnt/win share from //server/share"),
        (SERVER, "/home/ann/far/x/y/agent.db", "fuse.sshfs", Grade.WARN, "a network file system"),
        (SERVER, "/mnt/old/agent.db", "ext4", Grade.OK, "/dev/sdc1"),
        (SERVER, "/mnt/usb/agent.db", "fuseblk", Grade.OK, "fuseblk"),
        (SERVER, "/mnt/gluster/agent.db", "fuse.glusterfs", Grade.WARN, "a network file system"),
        (SERVER, "/mnt/ceph/agent.db", "ceph", Grade.WARN, "a network file system"),
        (SERVER, "/mnt/lustre/agent.db", "lustre", Grade.WARN, "a network file system"),
        (CONTAINER, "/app/agent.db", "overlay", Grade.OK, "overlay"),
        (CONTAINER, "/data/agent.db", "ext4", Grade.OK, "mounted at /data"),
        (CONTAINER, "/jobs/agent.db", "virtiofs", Grade.WARN, "a folder of another system"),
        (CONTAINER, "/shared/agent.db", "fakeowner", Grade.WARN, "a folder of another system"),
        (WSL, "/home/me/agent.db", "ext4", Grade.OK, "ext4"),
        (WSL, "/mnt/c/Users/me/agent.db", "9p", Grade.WARN, "a folder of another system"),
    ],
)  # fmt: skip
def test_a_network_is_told_from_a_disk(table: str, path: str, kind: str, grade: Grade, words: str) -> None:
    mount = mount_of(Path(path), table)
    assert mount is not None
    assert mount.kind == kind
    finding = filesystem(Path(path), table)
    assert finding.grade is grade
    assert words in finding.words
    assert (finding.way_out is not None) == (grade is Grade.WARN)


@pytest.mark.parametrize("table", [None, "", "what is this\n\n- - -\n1 2 3 - ext4\n", SERVER.split("\n", 1)[1]])
def test_where_nobody_can_tell_it_says_so(table: str | None) -> None:
    finding = filesystem(Path("/home/bob/agent.db"), table)
    assert finding.grade is Grade.OK
    assert finding.words.startswith("unknown")


@pytest.mark.skipif(not TABLE.exists(), reason="this system has no /proc/self/mountinfo")
def test_the_table_of_this_system_can_be_read(tmp_path: Path) -> None:
    assert mount_of(tmp_path.resolve(), TABLE.read_text()) is not None
