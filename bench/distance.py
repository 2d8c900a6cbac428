"""A database some way off: a proxy on loopback that delays what goes through it, and counts the round trips."""

import asyncio
import multiprocessing
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import c_double, c_long
from typing import Any


class Distance:
    """How far off the database is, and how often something went there and back. Shared with the proxy's process."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._trip_s, self._trips = context.Value(c_double, 0), context.Value(c_long, 0)

    @property
    def trips(self) -> int:
        """How often a client sent something after it had an answer, or first."""
        return int(self._trips.value)

    def set(self, ms: float) -> None:
        """Make each way there and back take so many milliseconds longer."""
        self._trip_s.value = ms / 1000

    @contextmanager
    def proxied(self, path: str) -> Iterator[int]:
        """Serve what listens on this Unix socket on a port of loopback; give the port."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            context: Any = multiprocessing.get_context("spawn")
            process = context.Process(target=_serve, args=(listening, path, self._trip_s, self._trips), daemon=True)
            process.start()
            try:
                yield listening.getsockname()[1]
            finally:
                process.terminate()
                process.join()


def _serve(listening: socket.socket, path: str, trip_s: Any, trips: Any) -> None:
    async def serve() -> None:
        async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there_reader, there_writer = await asyncio.open_unix_connection(path)
            is_answered = [True]

            def asks() -> None:
                if is_answered[0]:
                    trips.value += 1
                is_answered[0] = False

            def answers() -> None:
                is_answered[0] = True

            ways = [_carry(reader, there_writer, trip_s, asks), _carry(there_reader, writer, trip_s, answers)]
            await asyncio.gather(*ways)

        server = await asyncio.start_server(meet, sock=listening)
        await server.serve_forever()

    asyncio.run(serve())


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, trip_s: Any, sees: Any) -> None:
    """Pass on what comes, each after half a round trip, in order."""
    loop = asyncio.get_running_loop()
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def arrive() -> None:
        while True:
            at, data = await under_way.get()
            if (left := at - loop.time()) > 0:
                await asyncio.sleep(left)
            if not data:
                writer.close()
                return
            writer.write(data)
            await writer.drain()

    arriving = loop.create_task(arrive())
    try:
        while data := await reader.read(65_536):
            sees()
            under_way.put_nowait((loop.time() + trip_s.value / 2, data))
    except OSError:
        pass  # whoever was there has gone
    under_way.put_nowait((0, b""))
    await arriving
