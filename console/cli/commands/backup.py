"""`pilotctl backup` and `pilotctl restore`: the whole pilot of this machine, as one file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from console.cli.commands.services import require_local
from console.cli.execute import changing, command_line
from console.cli.parser import Parser, add_common, common_of, usage
from console.config.paths import local_home, state_folder
from console.errors import ExitCode, PilotError

if TYPE_CHECKING:
    import argparse

    from console.cli.context import Context
    from console.cli.output import Output
    from console.cli.stderr import Stderr
    from console.model.backup import Restored

_WORDS = {
    "backup": "Back the pilot of this machine up into a file, while it serves.",
    "restore": (
        "Restore a backup into a state folder whose services do not run. It is a rollback: "
        "the gateway starts locked, and what was revoked since stays revoked."
    ),
}


def run(argv: list[str], context: Context) -> int:
    """Do what `argv[0]` says."""
    verb = argv[0]
    parser = parser_of(verb)
    namespace = parser.understood(argv[1:])
    common = common_of(namespace)
    output, stderr = context.output(common), context.stderr(common)
    if namespace.help_:
        output.text(parser.format_help())
        return ExitCode.DONE
    if not namespace.file:
        raise usage(f"{verb} needs a FILE", f"see pilotctl {verb} --help")
    require_local()
    home = Path(namespace.home).expanduser() if namespace.home else local_home(context.environ)
    if verb == "backup":
        return _backup(namespace, home.absolute(), output)
    return _restore(namespace, home.absolute(), context, output, stderr)


def parser_of(verb: str) -> Parser:
    """Return the parser of `pilotctl backup` or `restore`."""
    parser = Parser(f"pilotctl {verb}", _WORDS[verb])
    parser.add_argument("file", nargs="?", default="", metavar="FILE", help="the backup")
    parser.add_argument("--home", default="", metavar="DIR", help="the pilot's state folder")
    parser.add_argument(
        "--passphrase-file", default="", metavar="FILE", help="seals the keys, and opens them"
    )
    if verb == "backup":
        parser.add_argument(
            "--without-keys", action="store_true", help="leave the keys out of the backup"
        )
    else:
        parser.add_argument("--vkey", default="", help="the verifier key of the backup's log")
        parser.add_argument(
            "--head", action="append", default=[], metavar="FILE",
            help="a checkpoint of the log that was seen elsewhere; may be given again",
        )  # fmt: skip
        parser.add_argument(
            "--keep-keys", action="store_true",
            help="keep every key and grant although nothing newer than the backup can be read",
        )  # fmt: skip
        parser.add_argument("--reason", default="", help="why; it goes into the log")
        parser.add_argument("--dry-run", action="store_true", help="say what would be done")
        parser.add_argument("--yes", "-y", action="store_true", help="do not ask")
    add_common(parser)
    return parser


def _backup(flags: argparse.Namespace, home: Path, output: Output) -> int:
    from console.model.backup import Backup  # noqa: PLC0415  # help needs none of this
    from console.services.backup.replay import os_user  # noqa: PLC0415
    from console.services.backup.take import take  # noqa: PLC0415
    from console.services.settings import Home  # noqa: PLC0415

    if bool(flags.passphrase_file) == flags.without_keys:
        raise usage(
            "say what becomes of the keys: --passphrase-file FILE seals them into the backup, "
            "--without-keys leaves them out"
        )
    target = Path(flags.file).expanduser().absolute()
    passphrase = _passphrase(flags.passphrase_file)
    look = f"look at {target}: a backup that is there is whole; else run the same again"
    with changing(f"the backup to {target}", look):
        output.result(take(Home(home), target, by=os_user(), passphrase=passphrase), Backup)
    return ExitCode.DONE


def _restore(
    flags: argparse.Namespace, home: Path, context: Context, output: Output, stderr: Stderr
) -> int:
    from console.model.backup import Restored  # noqa: PLC0415  # as above
    from console.services.backup.restore import Order, restore  # noqa: PLC0415

    if not flags.reason:
        raise usage("restore needs a --reason")
    order = Order(
        archive=Path(flags.file).expanduser().absolute(),
        reason=flags.reason,
        passphrase=_passphrase(flags.passphrase_file),
        vkey=flags.vkey,
        heads=[*(_note(each) for each in flags.head), *_pinned(context)],
        keep_keys=flags.keep_keys,
        dry_run=True,
        is_home_named=bool(flags.home),
    )
    planned = restore(home, order)
    if flags.dry_run:
        output.result(planned, Restored)
        return ExitCode.DONE
    if not flags.yes:
        _confirm(planned, context, stderr)
    with changing(f"the restore into {home}", "run the same restore again"):
        done = restore(home, order._replace(dry_run=False))
        _tell(done, output, stderr)
    return ExitCode.DONE


def _tell(done: Restored, output: Output, stderr: Stderr) -> None:
    """Print what a restore did, what is odd about it, and what its owner runs next."""
    from console.model.backup import Restored  # noqa: PLC0415  # as above

    output.result(done, Restored)
    for warning in done.warnings:
        stderr.note(f"warning: {warning}")
    if done.log == "new":
        stderr.note(
            f"the log is a new one, {done.origin}: each console that pinned {done.old_origin} says "
            "so, until its operator runs `pilotctl log repin`"
        )
    if done.operators_cut:
        stderr.note(
            f"cut off, because nothing newer tells whether they were: "
            f"{', '.join(done.operators_cut)}"
        )
    stderr.note(f"the gateway is locked ({done.lock_id}) until you release it; next, in order:")
    for command in done.next:
        stderr.note(f"  {command}")


def _confirm(planned: Restored, context: Context, stderr: Stderr) -> None:
    log = (
        f"goes on as a new one after {planned.old_size} entries" if planned.old_size else "goes on"
    )
    lines = [
        f"Restore {planned.home} as it was on {planned.backup_of:%Y-%m-%d %H:%M} UTC",
        f"  newer than the backup and kept: {', '.join(planned.newest_copy) or 'nothing'}",
        f"  {planned.tombstones} tombstones and {planned.closings} closings kept",
        f"  {planned.keys_ended} keys and {planned.tokens_ended} tokens end as unsure",
        f"  {len(planned.grants_suspended)} grants are suspended as unsure",
        f"  {len(planned.partners_restricted)} partners are restricted as unsure",
        *(
            [f"  operators cut off as unsure: {', '.join(planned.operators_cut)}"]
            if planned.operators_cut
            else []
        ),
        f"  the log {log}; the gateway starts locked; what is there now is put aside",
        *(f"  warning: {each}" for each in planned.warnings),
    ]
    again = command_line(context.argv, "--yes")
    if not context.terminal.can_ask:
        raise PilotError(
            "not-confirmed", "restore: it was not confirmed, and nobody can be asked",
            exit=ExitCode.NOT_CONFIRMED, hint=again,
        )  # fmt: skip
    for line in lines:
        stderr.note(line)
    answer = stderr.ask("Go on? [y/N]")
    if answer is None or answer.strip().lower() not in {"y", "yes"}:
        raise PilotError(
            "not-confirmed", "declined: nothing was changed",
            exit=ExitCode.NOT_CONFIRMED, hint=again,
        )  # fmt: skip


def _passphrase(name: str) -> bytes | None:
    if not name:
        return None
    from console.services.backup.seal import check_passphrase  # noqa: PLC0415  # as above

    path = Path(name).expanduser()
    try:
        if path.stat().st_mode & 0o077:
            raise PilotError(
                "secret-exposed",
                f"{path} can be read by others",
                exit=ExitCode.USAGE,
                hint=f"chmod 600 {path}",
            )
        return check_passphrase(path.read_bytes())
    except OSError as error:
        raise PilotError(
            "bad-value", f"cannot read {path}: {error.strerror}", exit=ExitCode.USAGE
        ) from error


def _note(name: str) -> bytes:
    try:
        return Path(name).expanduser().read_bytes()
    except OSError as error:
        raise PilotError(
            "bad-value", f"cannot read {name}: {error.strerror}", exit=ExitCode.USAGE
        ) from error


def _pinned(context: Context) -> list[bytes]:
    """Return the heads that this user's own consoles pinned, of whichever log."""
    import json  # noqa: PLC0415  # as above

    notes = []
    for path in (state_folder(context.environ) / "logs").glob("*/*/pin.json"):
        try:
            notes.append(str(json.loads(path.read_bytes())["note"]).encode())
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return notes
