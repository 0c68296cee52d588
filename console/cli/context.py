"""What every command is given: the command line, the environment, the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from console.cli.output import Output
from console.cli.parser import Common
from console.cli.stderr import Stderr
from console.cli.terminal import Terminal
from console.config.profile import Profile, load_profile

if TYPE_CHECKING:
    from collections.abc import Callable

    from console.net.driver import Exchange
    from console.session.session import Session

    Picker = Callable[[Session, str], str]


class Context(NamedTuple):
    """One invocation. `argv` is everything after the program's name."""

    argv: tuple[str, ...]
    environ: Mapping[str, str]
    terminal: Terminal
    picker: Picker | None = None
    """Lets the operator choose one of a noun; empty for none. The other front's."""

    def stderr(self, common: Common) -> Stderr:
        """Return standard error in the manner of the output format."""
        return Stderr(self.terminal, as_json=common.format in {"json", "jsonl"})

    def output(self, common: Common) -> Output:
        """Return standard output in the format asked for."""
        return Output(
            self.terminal, self.stderr(common), format=common.format, fields=common.fields
        )

    def profile(self, common: Common) -> Profile:
        """Return the profile in use."""
        return load_profile(
            self.environ,
            profile=common.profile,
            config=common.config,
            read_only=common.read_only,
        )

    def open_screen(self, home: Path, theme: str = "", token: str = "") -> int:
        """Open the console on the services whose state is in `home`; return its exit code.

        As the operator of `token` where that is given, as the OS user otherwise.

        In a process of its own: the two fronts do not know each other.
        """
        import subprocess  # noqa: PLC0415  # only the demo opens the console

        from console.programs import module_command, module_environment  # noqa: PLC0415

        others = {f"PILOTCTL_{name}" for name in ("POLICY", "GATEWAY", "AUDIT", "TOKEN", "CONFIG")}
        kept = {name: value for name, value in self.environ.items() if name not in others}
        if theme:
            kept["PILOTCTL_THEME"] = theme
        environ = {**kept, "PILOTCTL_HOME": str(home), "PILOTCTL_PROFILE": "local"}
        if token:
            environ["PILOTCTL_TOKEN"] = token
        command = module_command("console")
        return subprocess.run(  # noqa: S603 - this same program
            command, env=module_environment(environ), check=False
        ).returncode

    def session(self, common: Common, profile: Profile) -> Session:
        """Return a session on `profile`. With `--verbose`, each API call is told."""
        from console.session.session import Session  # noqa: PLC0415  # help and config need no session

        stderr = self.stderr(common)

        def tell(exchange: Exchange) -> None:
            call = exchange.call
            stderr.note(
                f"{call.route.method} {call.route.id} at {exchange.source}: "
                f"{exchange.status or 'no answer'}, {exchange.milliseconds:.0f} ms, "
                f"{exchange.request_id}"
            )

        return Session(profile, self.environ, on_exchange=tell if common.verbose else None)
