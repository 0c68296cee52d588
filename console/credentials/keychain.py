"""The desktop keyring, asked in a process of its own: `python -m console.credentials.keychain`.

A keyring daemon may hang, prompt or crash its caller; from a process with a deadline it
can do none of that to the console. The secret crosses one pipe and no argument list.
"""

from __future__ import annotations

import json
import sys


def main() -> int:
    """Print the secret for the service and account named in the arguments, as JSON."""
    import keyring  # noqa: PLC0415  # its backends are searched at import
    from keyring.errors import KeyringError  # noqa: PLC0415

    _, service, account = sys.argv
    try:
        found = {"token": keyring.get_password(service, account)}
    except KeyringError as error:
        found = {"error": f"{type(error).__name__}: {error}"}
    sys.stdout.write(json.dumps(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
