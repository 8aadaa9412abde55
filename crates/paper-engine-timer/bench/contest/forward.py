"""Hands connections to HOST:PORT on to 127.0.0.1:OTHER: forward.py HOST PORT OTHER."""

import asyncio
import contextlib
import sys


async def pump(reader, writer):
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def main(host, port, other):
    async def serve(reader, writer):
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", other)
        await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))

    server = await asyncio.start_server(serve, host, int(port))
    await server.serve_forever()


asyncio.run(main(*sys.argv[1:]))
