"""The tour: the thread from a grant to its proof, each step a command that really runs."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from console.cli.output import Output
from console.errors import ExitCode, PilotError
from console.present.safe import safe
from console.programs import module_command, module_environment

INCIDENT_SECONDS = 30.0
"""How long the tour waits for the alert that the scenario will raise."""


class Tour:
    """Runs commands of this same program against the demo's home and shows them."""

    def __init__(self, home: Path, environ: Mapping[str, str], output: Output) -> None:
        self.home = home
        self._environ = {**environ, "PILOTCTL_HOME": str(home), "PILOTCTL_PROFILE": "local"}
        self._output = output

    def say(self, text: str) -> None:
        """Print a caption."""
        self._output.text(f"\n# {text}\n")

    def run(self, *words: str, expect: Sequence[int] = (0,)) -> None:
        """Run `pilotctl WORDS`, and show the command and what it printed.

        Raises PilotError where it ends with an exit code that the tour did not expect.
        """
        self._output.text(f"$ pilotctl {shlex.join(words)}\n")
        done = self._process(words, stderr=subprocess.STDOUT)
        self._output.text(done.stdout)
        if done.returncode not in expect:
            raise PilotError(
                "tour-stopped",
                f"`pilotctl {shlex.join(words)}` ended with exit code {done.returncode}",
                hint="run `pilotctl doctor`",
            )
        if done.returncode:
            self._output.text(f"(exit {done.returncode})\n")

    def look(self, *words: str) -> Any:
        """Run `pilotctl WORDS -o json` without showing it, and return its value."""
        done = self._process([*words, "-o", "json"])
        if done.returncode:
            raise PilotError("tour-stopped", done.stderr.strip() or f"exit {done.returncode}")
        return json.loads(done.stdout)

    def partner_calls(self, key: str, model: str, words: str, *, address: str) -> str:
        """Call the data plane as the partner would, show what it heard, return the request id."""
        from console.services.demo.partner_call import call  # noqa: PLC0415  # the extra `local`
        from console.services.settings import Home  # noqa: PLC0415  # as above

        heard = call(Home(self.home), key, model, words, address=address)
        outcome = f"{heard.status} {heard.code}".strip()
        self._output.text(f"partner> POST /v1/chat/completions model={model}\n")
        self._output.text(f"partner< {outcome}: {safe(heard.words)[:100]}\n")
        return heard.request_id

    def until(self, what: str, look: Callable[[], Any], seconds: float) -> Any:
        """Look every quarter second until something is found. PilotError after `seconds`."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := look():
                return found
            time.sleep(0.25)
        raise PilotError("tour-stopped", f"no {what} within {seconds:.0f} s")

    def _process(
        self, words: Sequence[str], *, stderr: int = subprocess.PIPE
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - this same program
            module_command("console", *words),
            env=module_environment(self._environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            check=False,
        )


def walk(tour: Tour) -> None:
    """Walk the thread: what is there, give access, use it, see misuse, end it, prove it."""
    tour.say("Pilots are running: three services, two enforcement points, partners' traffic.")
    tour.run("status")
    tour.run("pilot", "list")
    tour.run("grant", "list", "--limit", "6")

    tour.say("One grant is a draft. It says what is missing, and how to mend it.")
    draft = tour.look("grant", "list", "--partner", "kestrel")["items"][0]
    tour.run("grant", "check", draft["id"])
    tour.run(
        "terms", "accept", "aurora", "kestrel", "--signatory", "Kestrel, legal", "--evidence",
        "countersigned copy", "--reason", "copy received", "--yes",
    )  # fmt: skip
    tour.run("grant", "activate", draft["id"], "--reason", "terms accepted", "--yes")

    tour.say("A key, handed over through a file that only its owner can read.")
    key_file = tour.home / "kestrel.key"
    tour.run(
        "key", "issue", draft["id"], "--reason", "first key", "--yes",
        "--secret-file", str(key_file), "-o", "name",
    )  # fmt: skip
    key = key_file.read_text().strip()
    tour.partner_calls(key, "aurora-1", "Propose a minimal patch.", address="127.0.50.9")
    tour.run("usage", "show", "--by", "partner", "--since", "1h")

    tour.say("A subprocessor's key turns up outside the declared network: an alert.")
    tour.until(
        "alert about the undeclared network",
        lambda: tour.look(
            "alert", "list", "--rule", "egress-undeclared", "--partner", "acme", "--state", "open"
        )["items"],
        INCIDENT_SECONDS,
    )
    tour.run("alert", "list", "--state", "open")
    leaked = tour.look("key", "list", "--holder", "datawharf")["items"][0]

    tour.say("Take that key away. Revoked is said when every point refuses, and the log proves it.")
    tour.run(
        "key", "revoke", leaked["id"], "--reason", "key seen outside its network",
        "--confirm", "acme",
    )  # fmt: skip
    refused = tour.until(
        "refused call",
        lambda: tour.look("call", "list", "--key", leaked["id"], "--code", "key_revoked")["items"],
        INCIDENT_SECONDS,
    )
    tour.run("call", "explain", refused[0]["id"])

    tour.say("The same for the grant of the tour; the partner's next call is refused.")
    tour.run("grant", "revoke", draft["id"], "--reason", "end of the tour", "--confirm", "kestrel")
    request = tour.partner_calls(key, "aurora-1", "And now?", address="127.0.50.9")
    tour.until(
        "record of that call",
        lambda: tour.look("call", "list", "--partner", "kestrel", "--outcome", "denied")["items"],
        INCIDENT_SECONDS,
    )
    tour.run("call", "explain", request)

    tour.say("Every step is in the log, and the log verifies from its entries up.")
    tour.run("audit", "list", "--limit", "8")
    tour.run("audit", "verify", expect=(int(ExitCode.DONE),))
