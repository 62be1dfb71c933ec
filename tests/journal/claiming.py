"""A process that claims, pays and answers requests at random, and vanishes from some runs: started by a test."""

import asyncio
import os
import random
import socket
import sys
import time

import psycopg
from journal.stores import begin, key, own_connection, priced

from llmframe._options import Tuning

REQUESTS = 3_000
TUNING = Tuning(lease_seconds=1.0)


async def main(url, seed, seconds):
    chance = random.Random(seed)
    socket.gethostname = lambda: f"machine {seed}"
    end = time.monotonic() + seconds
    with psycopg.connect(url, autocommit=True) as ledger:
        async with own_connection(url, TUNING) as journal:
            while time.monotonic() < end:
                session = await begin(journal)
                for _ in range(chance.randint(1, 6)):
                    first = chance.randrange(REQUESTS)
                    some = [
                        key(number)
                        for number in chance.sample(range(first, first + 40), chance.randint(1, 30))
                    ]
                    granted = list((await journal.claim(session, some)).granted)
                    done = granted[: chance.randint(0, len(granted))]
                    for one in done:
                        ledger.execute("INSERT INTO paid VALUES (%s)", (one,))
                    await journal.record(
                        session, [priced(int.from_bytes(one, "big")) for one in done], granted[len(done) :: 2]
                    )
                if chance.random() < 0.7:
                    await journal.end(session, {}, finished=True)
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
