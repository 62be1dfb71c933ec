"""A network between a journal and its database that loses connections."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager, suppress


class Network:
    """Forwards connections to a port of this machine, and breaks them when it is told to.

    Attributes
    ----------
    sent : bytes
        All that clients have sent.
    cut_at : bytes or None
        The next time that a client sends this, its connection breaks.
    delivers : bool
        Whether what was sent then still arrives: the client then misses the answer alone.
    up : bool
        Whether new connections are accepted.
    delay : float
        Seconds for the way in each direction.
    """

    def __init__(self, port):
        self._port = port
        self.sent = b""
        self.cut_at = None
        self.delivers = True
        self.up = True
        self.delay = 0.0
        self._open = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if not self.up:
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self._port))
                self._open += [client, server]
                for source, target, watched in ((client, server, True), (server, client, False)):
                    threading.Thread(
                        target=self._forward, args=(source, target, watched), daemon=True
                    ).start()

    def _forward(self, source, target, watched):
        with suppress(OSError):
            while data := source.recv(1 << 16):
                time.sleep(self.delay)
                if watched and self._cuts(data):
                    if self.delivers:
                        # The answer can no longer reach the client, whose side is closed first.
                        _close(source)
                        target.sendall(data)
                        target.shutdown(socket.SHUT_WR)
                        while target.recv(1 << 16):
                            pass
                    break
                target.sendall(data)
        _close(source)
        _close(target)

    def _cuts(self, data):
        self.sent += data
        cuts = self.cut_at is not None and self.cut_at in data
        if cuts:
            self.cut_at = None
        return cuts

    def break_all(self):
        for connection in self._open:
            _close(connection)
        self._open.clear()

    def close(self):
        self._listener.close()
        self.break_all()


def _close(connection):
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


@contextmanager
def network_to(database):
    """Give a network, and the address of the database through it."""
    place = database.url.rpartition("@")[2]
    port = int(place.partition(":")[2].partition("/")[0])
    network = Network(port)
    try:
        yield network, database.url.replace(f":{port}/", f":{network.port}/")
    finally:
        network.close()
