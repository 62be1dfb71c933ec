"""Starting, stopping and outages of the local server, and the ways to run one."""

import asyncio
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from urllib.parse import urlsplit

import aiohttp
import pytest
from testing.client import ask, call, content_of, get

from llmframe.testing import LocalServer, reviews

pytest_plugins = ["pytester"]


def test_a_large_body_is_taken(server):
    """Megabytes of prompt are no problem."""
    assert call(server, ask("x" * 5_000_000))[0] == 200


def test_an_outage_refuses_connections_and_ends(server):
    """While it is down connections are refused, then it is back at the same address."""
    address = server.base_url
    with server.outage():
        with pytest.raises(urllib.error.URLError, match="refused"):
            call(server, ask())
        server.down()
    server.up()
    assert server.base_url == address
    assert call(server, ask())[0] == 200


def test_an_outage_cuts_what_is_in_flight():
    """Requests under way see a reset, idle connections are gone too."""
    with LocalServer(latency=30) as server:

        async def main():
            async with aiohttp.ClientSession(headers={"authorization": "Bearer k"}) as session:
                async with session.get(f"{server.base_url}/models") as answer:
                    await answer.read()
                task = asyncio.create_task(session.post(f"{server.base_url}/chat/completions", json=ask()))
                await asyncio.to_thread(server.ledger.wait_for, lambda ledger: ledger.in_flight == 1)
                await asyncio.to_thread(server.down)
                with pytest.raises(aiohttp.ClientConnectionError):
                    await task

        begin = time.monotonic()
        asyncio.run(main())
        assert time.monotonic() - begin < 1
        assert (server.ledger.abandoned, server.ledger.in_flight, server.ledger.billed) == (0, 0, 0)
        server.up()
        assert get(server, "/models")[0] == 200


def test_an_outage_cuts_connections_that_are_just_being_made():
    """Whoever got through sees the connection end, also the one that was taken at the last moment."""
    made = []
    wanted = threading.Semaphore(0)
    over = threading.Event()

    def connect():
        while wanted.acquire() and not over.is_set():
            with suppress(OSError):
                made.append(socket.create_connection(address, timeout=30))

    with LocalServer() as server:
        parts = urlsplit(server.base_url)
        address = parts.hostname, parts.port
        thread = threading.Thread(target=connect, daemon=True)
        thread.start()
        for _ in range(40):
            before = len(made)
            deadline = time.monotonic() + 60
            while len(made) < before + 5:
                assert time.monotonic() < deadline, "no connection is made any more"
                wanted.release(20)
                time.sleep(0.001)
            with server.outage():
                pass
        over.set()
        wanted.release()
        thread.join()
    for client in made:
        with client, suppress(ConnectionError):
            client.send(
                b"P"
            )  # as Linux may close a listener on a handshake's last step and tell nobody till then
            assert client.recv(1) == b""


def test_a_server_can_start_again_on_its_port():
    """Stopping frees the port, starting takes the same one; both may be said twice."""
    server = LocalServer()
    with pytest.raises(RuntimeError, match="no address yet"):
        _ = server.base_url
    with pytest.raises(RuntimeError, match="not running"):
        server.down()
    address = server.start().start().base_url
    assert call(server, ask())[0] == 200
    server.stop()
    server.stop()
    with pytest.raises(urllib.error.URLError):
        call(server, ask())
    with server:
        assert server.base_url == address
        assert call(server, ask())[0] == 200
        assert repr(server) == f"<LocalServer {address}>"
    assert server.ledger.answered == 2


def test_a_server_can_stop_while_it_is_down():
    """Nothing is left open after an outage that never ended."""
    server = LocalServer().start()
    server.down()
    server.stop()
    with server:
        assert call(server, ask())[0] == 200


def test_a_port_that_is_taken_is_an_error():
    """The error of the operating system reaches the caller, and no thread stays behind."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        before = threading.active_count()
        with pytest.raises(OSError):
            LocalServer(port=taken.getsockname()[1]).start()
        assert threading.active_count() == before


def test_outages_under_load_lose_no_count():
    """Whatever is cut while many requests run, each one ends in the ledger once."""
    with LocalServer(latency=0.005) as server:

        async def main():
            async with aiohttp.ClientSession(headers={"authorization": "Bearer k"}) as session:
                ended = asyncio.Event()

                async def keep_asking(i):
                    answered = 0
                    while not ended.is_set():
                        try:
                            async with session.post(
                                f"{server.base_url}/chat/completions", json=ask(str(i))
                            ) as answer:
                                await answer.read()
                                answered += 1
                        except aiohttp.ClientError:
                            await asyncio.sleep(0.005)
                    return answered

                tasks = [asyncio.create_task(keep_asking(i)) for i in range(30)]
                for _ in range(5):
                    await asyncio.sleep(0.05)
                    await asyncio.to_thread(server.down)
                    assert server.ledger.in_flight == 0
                    await asyncio.sleep(0.01)
                    await asyncio.to_thread(server.up)
                await asyncio.sleep(0.05)
                ended.set()
                return sum(await asyncio.gather(*tasks))

        answered = asyncio.run(main())
        ledger = server.ledger
        assert 0 < answered <= ledger.answered == ledger.statuses[200] <= ledger.billed <= ledger.requests
        assert (ledger.in_flight, ledger.abandoned) == (0, 0)


def test_stopping_leaves_no_thread_behind():
    """The server's thread ends with it."""
    before = threading.active_count()
    with LocalServer() as server:
        call(server, ask())
    assert threading.active_count() == before


def test_the_fixture_gives_a_running_server(pytester):
    """`llm_server` is there for whoever names the plugin."""
    pytester.makeconftest('pytest_plugins = ["llmframe.testing.fixtures"]')
    pytester.makepyfile(
        "def test_it(llm_server):\n    assert llm_server.base_url.startswith('http://127.0.0.1:')\n"
    )
    pytester.runpytest_inprocess("-p", "no:asyncio").assert_outcomes(passed=1)


def test_importing_it_is_cheap():
    """Neither aiohttp nor pytest nor the SDK is loaded before a server starts."""
    code = "import sys, llmframe.testing; print([m for m in ('aiohttp', 'pytest', 'openai') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_sample_has_rows():
    """The shipped reviews come as a frame."""
    assert len(reviews()) > 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without telling it")
def test_serve_runs_until_it_is_told_to_stop():
    """A process of its own announces its address, answers, and ends cleanly on SIGTERM."""
    code = "from llmframe.testing import serve; serve(0, ready=lambda url: print(url, flush=True))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().strip()
        request = urllib.request.Request(f"{url}/models", headers={"authorization": "Bearer k"})
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 200
        process.terminate()
        assert process.wait(timeout=5) == 0


def test_what_answers_are_made_by_can_be_changed_while_the_server_runs(server):
    """New values count for the requests that arrive afterwards, and are read back."""
    server.answer = lambda _: "another answer"
    server.latency = 0.3
    began = time.monotonic()
    assert content_of(call(server, ask())[1]) == "another answer"
    assert time.monotonic() - began >= 0.3
    server.latency, server.cached, server.headers = 0, 0.5, False
    server.api_key = "only this one"
    assert call(server, ask())[0] == 401
    assert call(server, ask(), key="only this one")[0] == 200
    assert (server.latency, server.cached, server.headers, server.api_key) == (0, 0.5, False, "only this one")


@pytest.mark.parametrize(
    ("name", "way_on"),
    [
        ("port", r"make another server, with LocalServer\(port="),
        ("models", r"make another server, with LocalServer\(models="),
        ("keep_bodies", r"make another server, with LocalServer\(keep_bodies="),
        ("base_url", "cannot be set"),
        ("ledger", "cannot be set"),
        ("fault", "no 'fault' to set; there are .*faults"),
    ],
)
def test_what_cannot_be_changed_is_an_error_and_not_ignored(server, name, way_on):
    with pytest.raises(AttributeError, match=way_on):
        setattr(server, name, 1)


@pytest.mark.parametrize(
    ("name", "value"), [("latency", "2"), ("latency", -1), ("answer", "yes"), ("cached", 20)]
)
def test_a_setting_that_no_answer_can_be_made_by_is_refused_at_once(server, name, value):
    """And not with each answer, when the server is made and when the setting is changed."""
    with pytest.raises(ValueError, match=f"^{name} must be"):
        LocalServer(**{name: value})
    with pytest.raises(ValueError, match=f"^{name} must be"):
        setattr(server, name, value)
