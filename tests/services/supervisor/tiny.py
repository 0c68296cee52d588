"""A supervisor over a tiny pilot: one sample service under two names, for the tests.

Run as a program it is what `console.services.supervisor` is to the real pilot.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

from console.services.runner import run
from console.services.settings import Listen, Settings
from console.services.store import Store
from console.services.supervisor import child
from console.services.supervisor.__main__ import main
from console.services.supervisor.processes import Spec, answering
from console.services.web import Web
from tests.services.web.sample import STEPS, mounted

MODULE = "tests.services.supervisor.tiny"
PROGRAM = (sys.executable, "-m", MODULE, "supervise")


def plan(settings: Settings) -> list[Spec]:
    """Two services, and a third that misbehaves as the test wants."""
    home = settings.home
    names = ["policy", "gateway"]
    if mood := os.environ.get("TINY_THIRD"):
        names.append(mood)
    return [
        Spec(
            name,
            (MODULE, "serve", "--home", str(home.path), "--name", name),
            answering(home.socket(name)),
        )
        for name in names
    ]


async def serve(settings: Settings, args: argparse.Namespace, stop: asyncio.Event) -> None:
    """Serve as the service `--name`."""
    if args.name == "crashes":
        os._exit(7)
    store = Store.open(settings.home.store(args.name), STEPS)
    web: Web = mounted(store, settings.operators)
    try:
        await web.start(
            socket=settings.home.socket(args.name),
            listen=Listen(port=settings.data_plane.ports[0]) if args.name == "listens" else None,
        )
        sys.stderr.write(f"{args.name} serves\n")
        await stop.wait()
        if args.name == "stubborn":
            await asyncio.sleep(60)
    finally:
        await web.stop()
        store.close()


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name")


if __name__ == "__main__":
    what = sys.argv.pop(1)
    child.STOP_SECONDS = float(os.environ.get("TINY_STOP_SECONDS", child.STOP_SECONDS))
    sys.exit(main(plan) if what == "supervise" else run("tiny", serve, options=_options))
