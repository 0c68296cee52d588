"""One enforcement point as a process: `python -m console.services.gateway.point --home HOME`."""

from __future__ import annotations

import argparse
import asyncio
import sys

from console import __version__
from console.errors import ExitCode, PilotError
from console.services import settings, tls
from console.services.background import BackgroundTasks
from console.services.cedar.shipped import bundle_in
from console.services.client import Client
from console.services.failures import FailureLog
from console.services.gateway.decision.content_crypto import ContentKeys
from console.services.gateway.decision.probe_token import new_key
from console.services.gateway.point.control_link import Following
from console.services.gateway.point.data_plane import Keys, Listener
from console.services.gateway.point.dialect.responses_api import answers_key
from console.services.gateway.point.intake.caller_address import Callers, Trust
from console.services.gateway.point.intake.guarded_loop import GuardedSelector, guarded_loop
from console.services.gateway.point.intake.listener_sockets import Place, listen
from console.services.gateway.point.point import Point
from console.services.gateway.point.spool import STEPS, Spool
from console.services.gateway.point.upstream.upstream import Upstreams, UpstreamSpec
from console.services.gateway.point.upstream.upstream_key import UpstreamKey
from console.services.gateway.point.upstream.upstream_routing import Routing
from console.services.runner import run
from console.services.safety_identifier import salt_of
from console.services.settings import Settings, Upstream
from console.services.store import Store

_LAST_WORDS_SECONDS = 1.0
"""How long calls that were cut may take to tell their callers."""


def main() -> int:
    """Run a point until it is told to stop."""
    loop, selector = guarded_loop()

    async def serve(read: Settings, args: argparse.Namespace, stop: asyncio.Event) -> None:
        await _serve(read, args.name, selector, stop)

    return run(
        "gateway.point",
        serve,
        options=_options,
        instance=lambda args: str(args.name),
        new_loop=lambda: loop,
    )


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", default="gw-1", help="the point's name, as the settings count it")


async def _serve(read: Settings, name: str, selector: GuardedSelector, stop: asyncio.Event) -> None:
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
    upstreams = Upstreams(specs.values())
    routing = Routing(specs, read.models)
    following = Following(point, spool, control, upstreams.watches)
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
    log = FailureLog(name)
    tasks = BackgroundTasks(log)
    place = Place(trust, callers, plane.host, port, context, keys.probe)
    server, url = await listen(listener.handle, place, is_ready=point.unready, log=log)
    following.turned_away = server.connections.counts
    tasks.add("ending waits", server.sweep)
    if certificate and context:
        tasks.add("following the certificate", tls.follow, certificate, context)
    tasks.add("being a point", _work, following, spool, url, tasks)
    try:
        await tasks.until(stop)
        await server.stop_listening()
        await point.let_end(_drain_seconds(read))
        stopped = point.stop_calls()
        await point.let_end(_LAST_WORDS_SECONDS)
        await following.say_goodbye(stopped)
    finally:
        point.lease.drop()
        await tasks.stop()
        await server.runner.cleanup()
        await spool.stop()
        await upstreams.close()
        await control.close()
        store.close()


async def _work(following: Following, spool: Spool, url: str, tasks: BackgroundTasks) -> None:
    """Join control, then have every task that keeps in step with it; wait until cancelled."""
    registered = await following.register(url, __version__)
    await spool.start(registered.calls_held)
    await following.load()
    tasks.add("following changes", following.follow_changes)
    tasks.add("holding the lease", following.hold_lease)
    tasks.add("judging calls again", following.judge_regularly)
    tasks.add("handing call records over", following.push_calls, registered.calls_held)
    tasks.add("handing kept content over", following.push_contents)
    tasks.add("asking for limits", following.limiter.run, spool.resumed)
    tasks.add("looking at idle upstreams", following.look_at_upstreams)
    await asyncio.Event().wait()


def _drain_seconds(read: Settings) -> float:
    """Return how long calls in flight may go on: what `down` was told, else the setting."""
    try:
        return max(0.0, float(read.home.drain.read_text("ascii")))
    except (OSError, ValueError):
        return float(read.data_plane.drain_seconds)


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
