"""Processes and machines: whose claims still stand."""

from __future__ import annotations

import os
import socket
import sys
import time
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path


class Liveness:
    """Tells which owners are alive, and gives those of this machine that run time to renew a lease.

    By the wall clock a lease can be over at once: a laptop wakes, or the clock is set. An owner that still runs
    then renews it soon, and what it has in flight is paid already.

    Parameters
    ----------
    grace
        Seconds that an owner which runs here is given.
    """

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._over: dict[int, tuple[float, float]] = {}
        """Which lease of an owner was over, and since when, by a clock that nobody sets."""

    def is_alive(self, owner: int, name: str, pid: int, lease: float) -> bool:
        here = name == machine()
        if here and not _process_exists(pid):
            return False
        if not here or lease > time.time():
            return lease > time.time()
        now = time.monotonic()
        seen, since = self._over.get(owner, (0.0, 0.0))
        if seen != lease:
            self._over[owner] = (lease, now)
            return True
        return now - since < self._grace


def _process_exists(pid: int) -> bool:
    if sys.platform == "win32":  # os.kill would end it there; the lease decides
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return False


def machine() -> str:
    """Name this boot of this machine (and its process namespace), within which a pid means something."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    return blake2b("/".join(parts).encode(), digest_size=12).hexdigest()
