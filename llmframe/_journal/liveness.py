"""Processes and machines: which owners' claims are still valid."""

from __future__ import annotations

import os
import socket
import sys
import time
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path


class Liveness:
    """Decides which owners are alive; an owner that runs on this machine gets time to renew its lease.

    By the wall clock a lease can expire at any moment: a laptop resumes, or the clock is set. A running owner then
    renews it soon, and its requests in flight are paid already.

    Parameters
    ----------
    grace
        Seconds that an owner on this machine gets.
    """

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._expired: dict[int, tuple[float, float]] = {}
        """By owner: the lease that had expired, and since when, by the monotonic clock."""

    def is_alive(self, owner: int, name: str, pid: int, lease: float, *, now: float) -> bool:
        """Return whether an owner is alive, by its lease and by the clock that the lease is counted by."""
        on_this_machine = name == machine()
        if on_this_machine and not _process_exists(pid):
            return False
        if not on_this_machine or lease > now:
            return lease > now
        moment = time.monotonic()
        expired_lease, since = self._expired.get(owner, (0.0, 0.0))
        if expired_lease != lease:
            self._expired[owner] = (lease, moment)
            return True
        return moment - since < self._grace


def _process_exists(pid: int) -> bool:
    if sys.platform == "win32":  # os.kill would end the process there; the lease decides
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
    """Return a name of this boot of this machine and of its process namespace, in which a pid is unique."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    return blake2b("/".join(parts).encode(), digest_size=12).hexdigest()
