"""What `export`, `import`, `pull` and `keygen` have in common: keys, and how an import is told.

Job: options to a trust policy and a signer; an import's report to words and JSON.  Invariant: a secret key is never
in a store, and never told.  May import: `evmaot.sharing`, `evmaot.store`, `evmaot.cli`, click.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import click

from evmaot.cli.invocation import AnyCommand, Invocation
from evmaot.cli.output import counted, human_size, is_terminal
from evmaot.config_values import parse_size
from evmaot.errors import UsageError

if TYPE_CHECKING:
    from evmaot.sharing.importing import ImportReport
    from evmaot.sharing.signature import SecretKey
    from evmaot.sharing.trust import Policy, Signer

PASSWORD_VARIABLE: Final = "EVMAOT_KEY_PASSWORD"
PARTIAL, CORRUPT = 3, 4
"""Exit codes (see `evmaot.cli.failures.EXIT_CODES`)."""


def parsed(parse: Callable[[object], Any]) -> Callable[[click.Context, click.Parameter, object], Any]:
    """A click callback of a parser that refuses with ValueError."""

    def convert(_context: click.Context, _parameter: click.Parameter, value: object) -> Any:
        try:
            return parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error

    return convert


def trust_options() -> Callable[[AnyCommand], AnyCommand]:
    """`--key` (`keys: tuple[str, ...]`), `--allow-unsigned` and `--max-size` (`max_size_bytes: int`)."""
    options = (
        click.option("--key", "keys", multiple=True, metavar="KEY",
                     help="Take what this key signed: a public key, or its file. Instead of the configured ones."),
        click.option("--allow-unsigned", is_flag=True, help="Take it as it is, this once: you trust where it is from."),
        click.option("--max-size", "max_size_bytes", default="16GiB", metavar="SIZE", show_default=True,
                     callback=parsed(parse_size), help="Most that its files may have together."),
    )  # fmt: skip

    def add(body: AnyCommand) -> AnyCommand:
        for option in reversed(options):
            body = option(body)
        return body

    return add


def trust_policy(invocation: Invocation, keys: Sequence[str], *, allow_unsigned: bool) -> Policy:
    """What the options and the configuration trust.  Raises UsageError ``bad_key``, TrustError ``no_trusted_key``."""
    from evmaot.sharing.signature import read_public_key
    from evmaot.sharing.trust import Policy

    policy = Policy(tuple(map(read_public_key, keys or invocation.settings.trusted_keys)), allow_unsigned)
    policy.require_usable()
    return policy


def require_outside(invocation: Invocation, path: Path, what: str) -> None:
    """Raise UsageError ``in_store`` for a path in the store: what is there may be removed, copied and served."""
    if path.resolve().is_relative_to(invocation.settings.store.resolve()):
        hint = "choose a place outside the store"
        raise UsageError("in_store", f"{what} is not kept in the store", context={"path": str(path)}, hint=hint)


def require_directory(path: Path) -> None:
    """Raise UsageError ``not_a_directory`` for what is there, or above it, and no directory."""
    there = next(one for one in (path.absolute(), *path.absolute().parents) if os.path.lexists(one))
    if not there.is_dir():
        hint = "name a new directory, or one that is there"
        raise UsageError("not_a_directory", f"{there} is there, and no directory", hint=hint)


def secret_key(invocation: Invocation, path: Path) -> SecretKey:
    """The key that signs.  Raises UsageError, TrustError."""
    from evmaot.sharing.signature import read_secret_key

    require_outside(invocation, path, "a secret key")
    return read_secret_key(path, _password)


def _password() -> str:
    if PASSWORD_VARIABLE in os.environ:
        return os.environ[PASSWORD_VARIABLE]
    if not is_terminal(sys.stdin) or not is_terminal(sys.stderr):
        hint = f"set {PASSWORD_VARIABLE}, or use a key without a password: evmaot keygen"
        raise UsageError("needs_password", "the secret key has a password, and there is no one to ask", hint=hint)
    password: str = click.prompt("Password of the secret key", hide_input=True, err=True)
    return password


def signing(key: SecretKey, name: str) -> Callable[[BinaryIO], str]:
    """What signs an export with the comment that minisign writes."""
    from evmaot.sharing.signature import sign

    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    seconds = int(epoch) if epoch.isdecimal() else int(time.time())
    return lambda stream: sign(stream, key, f"timestamp:{seconds}\tfile:{name}\thashed")


def tell_import(
    invocation: Invocation, context: click.Context, verb: str, source: str, by: Signer, report: ImportReport
) -> None:
    """Say what was new, known and refused; exit with 3 where packs were refused, 4 where all were."""
    code = 0 if not report.refused else PARTIAL if report.new or report.known else CORRUPT
    if invocation.output.as_json:
        problems = [
            {"code": item.reason, "severity": "error", "subject": item.pack, "message": item.message, "cause": None,
             "hint": None}
            for item in report.refused
        ]  # fmt: skip
        invocation.output.document(verb, _data(source, by, report), problems, not report.refused)
    else:
        _tell(invocation, by, report)
    context.exit(code)


def _data(source: str, by: Signer, report: ImportReport) -> dict[str, Any]:
    from evmaot.cli.listing import target_of, why_not_here

    packs = []
    for manifest in report.new:
        profile = report.profiles[manifest.profile]
        packs.append(
            {
                "pack": manifest.object.sha256,
                "profile": manifest.profile,
                "tier": profile.tier,
                "target": target_of(profile),
                "artifacts": len(manifest.members),
                "size_bytes": manifest.object.size,
                "not_loadable": why_not_here(profile),
            }
        )
    return {
        "source": source,
        "signed_by": by.key,
        "comment": by.comment,
        "new": packs,
        "known": report.known,
        "refused": [
            {"pack": item.pack, "reason": item.reason, "message": item.message} for item in report.refused
        ],
    }  # fmt: skip


def _tell(invocation: Invocation, by: Signer, report: ImportReport) -> None:
    from evmaot.cli.listing import why_not_here

    output = invocation.output
    if by.key is None:
        output.warn("warning: not signed by a trusted key; taken because of --allow-unsigned", style="yellow")
    else:
        output.say(f"signed by the key {by.key}")
        output.detail(f"trusted comment: {by.comment}")
    if report.new:
        size_bytes = sum(manifest.object.size for manifest in report.new)
        packs = counted(len(report.new), "pack")
        output.say(f"imported {counted(report.artifacts_new, 'artifact')} in {packs}, {human_size(size_bytes)}")
    else:
        output.say("nothing was imported" if report.refused else "nothing is new")
    if report.known:
        output.say(f"{counted(len(report.known), 'pack')} known already")
    reasons = Counter(why_not_here(report.profiles[manifest.profile]) for manifest in report.new)
    for reason, count in sorted((reason, count) for reason, count in reasons.items() if reason):
        output.say(f"stored, but not loaded on this machine: {counted(count, 'pack')} [{reason}]")
    for item in report.refused:
        output.warn(f"refused: pack {item.pack[:16]}: {item.message} [{item.reason}]", style="yellow")
