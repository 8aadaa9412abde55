"""Runs procrastinate with a task that posts: procrastinate_peer.py DSN CONCURRENCY. With `schema` it only makes the tables."""

import asyncio
import sys

import aiohttp
import procrastinate

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=sys.argv[1], min_size=4, max_size=16))
session = None


@app.task(name="hook")
async def hook(url):
    async with session.post(url, timeout=aiohttp.ClientTimeout(total=15)) as answer:
        answer.raise_for_status()


async def main():
    global session
    async with app.open_async():
        if sys.argv[2] == "schema":
            await app.schema_manager.apply_schema_async()
            return
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64)) as session:
            print("ready", flush=True)
            await app.run_worker_async(concurrency=int(sys.argv[2]), install_signal_handlers=False)


asyncio.run(main())
