# SPDX-License-Identifier: GPL-2.0-or-later
"""The script that runs one command inside the lab, and what surrounds it.

It runs as a child of virtme-ng's init. Standard output and error go to the host
through two virtio-serial ports of ours: virtme-ng's own ports need udev, which
containers lack, and the console is no place for binary data. A port takes one
writer, so the command writes to pipes and a ``cat`` each carries them over.
Results go to the exchange folder, which the host shares with the lab.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

# Where the exchange folder is inside the lab.
EXCHANGE = "/run/kvmbpf-lab"
RW_TAG = "kvmbpf.rw"
OUT_PORT = "kvmbpf.out"
ERR_PORT = "kvmbpf.err"
# Both ways, where the command has a terminal: see `kvmbpf.lab.shell_inside`.
TTY_PORT = "kvmbpf.tty"
# Files in the exchange folder.
STARTED, STATUS, DMESG = "started", "status", "dmesg"

# Reads are cached as on a local disk, writes go through to the host at once:
# CACHE_FILE | CACHE_META | CACHE_LOOSE without CACHE_WRITEBACK (fs/9p/v9fs.h).
_RW_OPTIONS = "trans=virtio,version=9p2000.L,access=any,msize=512000,cache=0xb"

_SCRIPT = r"""# Written by kvmbpf for one run of the lab.
X={exchange}
port() {{
	for p in /sys/class/virtio-ports/*; do
		if [ "$(cat "$p/name")" = "$1" ]; then echo "/dev/${{p##*/}}"; return; fi
	done
	echo "kvmbpf: no virtio port $1" >&2
}}
fail() {{ echo "kvmbpf: $1" >&2; echo "$1" >$X/failed; sync; exit 1; }}
out=$(port {out_port})
err=$(port {err_port})
[ -n "$out" ] && [ -n "$err" ] || fail "the kernel shows no virtio-serial ports"
mount -t bpf bpf /sys/fs/bpf || fail "bpffs does not mount"
mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug
mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing
mkdir -p {rw} 2>/dev/null
mount -t 9p -o {rw_options} {rw_tag} {rw} || fail "{rw_plain} does not mount"
cd -- {cwd} || fail "{cwd_plain} is not there"
mkfifo /run/kvmbpf.out /run/kvmbpf.err
cat </run/kvmbpf.out >"$out" & o=$!
cat </run/kvmbpf.err >"$err" & e=$!
: >$X/{started}
env -i {environment} {command} </dev/null >/run/kvmbpf.out 2>/run/kvmbpf.err 3>&-
status=$?
# What the command left in the background may hold the pipes open: do not wait for ever.
(sleep 5; kill $o $e) 2>/dev/null & k=$!
wait $o $e
kill $k 2>/dev/null
dmesg >$X/{dmesg}
echo $status >$X/{status}.partial
mv $X/{status}.partial $X/{status}
sync
"""


def guest_script(
    command: Sequence[str], *, rw: Path, cwd: Path, environment: Mapping[str, str]
) -> str:
    """Write the script that runs a command in the lab.

    :param command: the command and its arguments.
    :param rw: the folder that is writable, same path on both sides.
    :param cwd: where the command runs.
    :param environment: all of the command's environment.
    """
    pairs = [f"{name}={value}" for name, value in environment.items()]
    return _SCRIPT.format(
        exchange=EXCHANGE,
        out_port=OUT_PORT,
        err_port=ERR_PORT,
        rw=shlex.quote(str(rw)),
        rw_plain=_plain(rw),
        rw_options=_RW_OPTIONS,
        rw_tag=RW_TAG,
        cwd=shlex.quote(str(cwd)),
        cwd_plain=_plain(cwd),
        started=STARTED,
        status=STATUS,
        dmesg=DMESG,
        environment=shlex.join(pairs),
        command=shlex.join(command),
    )


def _plain(path: Path) -> str:
    """Return a path fit to stand in a double-quoted message."""
    return "".join(c if c.isalnum() or c in "/._-+ " else "?" for c in str(path))
