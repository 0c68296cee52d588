"""One enforcement point as a process: `python -m console.services.gateway.point --home HOME`."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

import msgspec

from console import __version__
from console.errors import ExitCode, PilotError
from console.services import settings, tls
from console.services.client import Client
from console.services.gateway.content import ContentKeys
from console.services.gateway.point.follow import Following
from console.services.gateway.point.listening import Place, listen
from console.services.gateway.point.point import Point
from console.services.gateway.point.proxy import Callers, Trust
from console.services.gateway.point.responses import answers_key
from console.services.gateway.point.routing import Routing
from console.services.gateway.point.serve import Keys, Listener
from console.services.gateway.point.spool import STEPS, Spool
from console.services.gateway.point.upstream import Upstreams, UpstreamSpec
from console.services.gateway.point.upstream_key import UpstreamKey
from console.services.gateway.point.watch import GuardedSelector, guarded_loop
from console.services.gateway.probe import new_key
from console.services.policy.shipped import bundle_in
from console.services.principals import salt_of
from console.services.settings import Settings, Upstream
from console.services.store import Store

GOODBYE_SECONDS = 3.0
"""How long calls in flight may go on once the point was told to stop."""


def main() -> int:
    """Run a point until it is told to stop. A `PilotError` becomes one JSON line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m console.services.gateway.point")
    parser.add_argument("--home", type=Path, required=True, help="the pilot's state folder")
    parser.add_argument("--name", default="gw-1", help="the point's name, as the settings count it")
    args = parser.parse_args()
    loop, selector = guarded_loop()
    try:
        read = settings.load(args.home)
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(_serve(read, args.name, selector))
    except PilotError as error:
        line = msgspec.json.encode({"service": args.name, **error.as_json()}).decode()
        sys.stderr.write(line + "\n")
        return int(error.exit)
    return int(ExitCode.DONE)


async def _serve(read: Settings, name: str, selector: GuardedSelector) -> None:
    stop = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)
    port = dict(read.data_plane.points).get(name)
    if port is None:
        known = ", ".join(point for point, _ in read.data_plane.points)
        raise PilotError(
            "bad-config", f"pilot.toml has no point {name}; it has {known}", exit=ExitCode.USAGE
        )
    keys = Keys(
        settings.secret_file(read.home.keys / "probe.key", new_key),
        salt_of(read.home),
        answers_key(read.home),
    )
    specs = {each.name: _spec(each) for each in read.upstreams.values()}
    store = Store.open(read.home.store(f"point-{name}"), STEPS, durable=False, readers=1)
    control = Client(socket=read.home.socket("gateway"))
    point = Point(name, bundle_in())
    spool = Spool(store)
    upstreams = Upstreams()
    routing = Routing(specs, read.models)
    following = Following(point, spool, control)
    plane = read.data_plane
    trust = Trust(plane.proxies, plane.proxy_protocol, plane.trusted_hops, plane.forwarded_header)
    callers = Callers(trust)
    listener = Listener(
        point,
        spool,
        upstreams,
        routing,
        keys,
        limiter=following.limiter,
        callers=callers,
        contents=ContentKeys(read.home),
    )
    selector.guard = point.guard
    certificate = plane.certificate
    context = certificate.context() if certificate else None
    place = Place(trust, callers, plane.host, port, context)
    server, url = await listen(listener.handle, place)
    renewing = asyncio.create_task(
        tls.follow(certificate, context) if certificate and context else stop.wait()
    )
    work = asyncio.create_task(_work(following, spool, url))
    told = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([work, told], return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            try:
                work.result()
            except BaseExceptionGroup as group:
                raise _cause(group) from group
        for site in list(server.sites):
            await site.stop()
        await point.let_end(GOODBYE_SECONDS)
        await following.say_goodbye()
    finally:
        point.lease.drop()
        work.cancel()
        told.cancel()
        renewing.cancel()
        await asyncio.gather(work, told, renewing, return_exceptions=True)
        await server.cleanup()
        await spool.stop()
        await upstreams.close()
        await control.close()
        store.close()


def _cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error that a person should read: a `PilotError` where there is one."""
    ours = group.subgroup(PilotError)
    found: BaseException = ours or group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


async def _work(following: Following, spool: Spool, url: str) -> None:
    """Join control, then keep in step with it. Ends only by an error or by being cancelled."""
    registered = await following.register(url, __version__)
    await spool.start(registered.calls_held)
    await following.load()
    async with asyncio.TaskGroup() as group:
        for each in (
            following.follow_changes(),
            following.hold_lease(),
            following.judge_regularly(),
            following.push_calls(registered.calls_held),
            following.push_contents(),
            following.limiter.run(spool.resumed),
        ):
            group.create_task(each)


def _spec(upstream: Upstream) -> UpstreamSpec:
    """Return what the data plane needs of an upstream. Its key is read anew when it changes."""
    return UpstreamSpec(
        upstream.name,
        upstream.kind,
        upstream.base_url,
        UpstreamKey(upstream.key, upstream.key_file),
        chunk_seconds=upstream.chunk_ms / 1000,
        read_seconds=float(upstream.read_seconds),
    )


if __name__ == "__main__":
    sys.exit(main())
