"""`pilotctl help TOPIC`: what holds for every command."""

from __future__ import annotations

from console.errors import MEANING


def _exit_codes() -> str:
    lines = ["EXIT CODES", ""]
    lines += [f"  {int(code):>3}  {meaning}" for code, meaning in MEANING.items()]
    return "\n".join(lines)


_ENVIRONMENT = """\
ENVIRONMENT

  PILOTCTL_CONFIG     the configuration file; else $XDG_CONFIG_HOME/pilotctl/config.toml
  PILOTCTL_PROFILE    the profile; else default_profile in the file; else `local`
  PILOTCTL_TOKEN      the API token; wins over the profile's source
  PILOTCTL_BREAK_GLASS  a file with a sealed token: it can only close, and wins over any other
  PILOTCTL_POLICY     address of the policy API, in place of the profile's
  PILOTCTL_GATEWAY    address of the gateway API, in place of the profile's
  PILOTCTL_AUDIT      address of the audit API, in place of the profile's
  PILOTCTL_THEME      the screen's theme: a name, or a file's path
  PILOTCTL_READ_ONLY  1 refuses what opens access
  PILOTCTL_HOME       the state folder of the services that `pilotctl up` runs
  PILOTCTL_DEBUG      1 shows where in pilotctl a bug happened
  NO_COLOR            set to anything: no colour
  COLUMNS             the width of a table on a terminal

A flag wins over the environment, the environment over the profile, the profile over the
file's [defaults]. `pilotctl config explain` shows each value and where it came from."""

_OUTPUT = """\
OUTPUT

  -o table   for people: fits a terminal, cuts nothing in a pipe (the default)
  -o json    one document; a list is {as_of, source, items, next_cursor, partial, warnings}
  -o jsonl   one object a line
  -o csv     one row an object; inert in a spreadsheet, one line a row
  -o name    one slug or id a line

  --fields a,b.c   only these members

Standard output is data only; standard error is for people. Under json and jsonl an error
is one JSON object on standard error, and nothing else is written there. JSON and CSV are
the same bytes on a terminal and in a pipe. Times are RFC 3339 in UTC. Control and format
characters are \\u-escaped in JSON and CSV, and shown as ^[ or \\u{202e} in tables.
Members are only ever added to the JSON."""

_PROFILES = """\
PROFILES

  default_profile = "lab"

  [defaults]                 # for every profile
  read_only = true

  [profiles.lab]
  policy = "unix:/run/pilotctl/policy.sock"
  gateway = "https://gateway.example.org"
  audit = "https://audit.example.org"
  tier = "production"        # development, staging or production
  read_only = false          # true refuses what opens; what closes always goes
  log_key = "…"              # the log's verifier key; pinned at first contact without it
  ca_file = "/etc/ssl/lab.pem"
  theme = "high-contrast"    # of the screen; :theme shows them
  token = { source = "file", path = "~/.config/pilotctl/token" }   # mode 0600
  # token = { source = "command", argv = ["get-token"] }  prints it, or {"token", "expires_at"}
  # token = { source = "env", variable = "LAB_TOKEN" }
  # token = { source = "keyring", service = "pilotctl", account = "lab" }

Without a file there is the profile `local`: the services of `pilotctl up`. A production
profile opens nothing from a script that does not name it with --profile or
PILOTCTL_PROFILE."""

_CONFIRMING = """\
CONFIRMING

  What reads, runs. What changes asks, or takes --yes. What cannot be undone, or reaches
  many partners, wants a name typed, or takes --confirm NAME. Without a terminal and
  without the flag nothing is done: exit 10, and the exact command to run.
  --dry-run shows the plan and changes nothing. --revision N refuses what has changed.
  --idempotency-key KEY makes the same command again have one effect."""


def topics() -> dict[str, str]:
    """Return each topic's text by its name."""
    return {
        "exit-codes": _exit_codes(),
        "environment": _ENVIRONMENT,
        "output": _OUTPUT,
        "profiles": _PROFILES,
        "confirming": _CONFIRMING,
    }
