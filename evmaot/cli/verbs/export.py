"""`evmaot export`: packs of the store to a file, or to a directory for a web server.

Job: select, write, sign, tell.  Invariant: what is written was hashed while it was read.  May import:
`evmaot.sharing`, `evmaot.store`, `evmaot.cli`, click.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from evmaot.cli.invocation import Invocation, Verb, pass_invocation
from evmaot.cli.options import StoredName, fork_option, profile_option
from evmaot.cli.output import counted, human_size

if TYPE_CHECKING:
    from evmaot.evm.forks import Fork


@click.command("export", cls=Verb)
@click.argument("output", type=click.Path(path_type=Path), metavar="FILE")
@click.argument("patterns", nargs=-1, metavar="[PATTERN]...")
@fork_option("What serves this fork.")
@profile_option()
@click.option("--pin", type=StoredName("pins"), metavar="NAME", help="What this pin keeps.")
@click.option("--codes", "with_codes", is_flag=True, help="With the bytecode, to compile it again elsewhere.")
@click.option(
    "--sign",
    "key_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="KEYFILE",
    help="Sign it: FILE.minisig.",
)
@click.option("--directory", is_flag=True, help="FILE is a directory, for a web server and evmaot pull.")
@pass_invocation
def command(
    invocation: Invocation,
    output: Path,
    patterns: tuple[str, ...],
    fork: Fork | None,
    profile: str | None,
    pin: str | None,
    with_codes: bool,
    key_file: Path | None,
    directory: bool,
) -> None:
    """Export packs of the store to a FILE that evmaot import takes on another machine.

    Everything, or what the selectors select: PATTERN is the beginning of a code hash (0x...) or a glob of labels. The
    file is a tar; with a name that ends in .zst it is compressed (extra evmaot[zstd]). The same packs give the same
    bytes.

    The signature is that of minisign; evmaot keygen makes keys. A pack's library travels whole, also where a part of
    its contracts is selected.
    """  # fmt: skip
    from evmaot.cli.listing import Selection
    from evmaot.cli.sharing import require_directory, require_outside, secret_key, signing
    from evmaot.cli.stores import open_store, warn_of_refusals
    from evmaot.sharing.contents import CONTENTS_NAME
    from evmaot.sharing.exporting import SIGNATURE_SUFFIX, plan_export, write_directory, write_file
    from evmaot.store.pins import read_pin

    require_outside(invocation, output, "an export")
    if directory:
        require_directory(output)
    key = None if key_file is None else secret_key(invocation, key_file)
    signed = output / CONTENTS_NAME if directory else output
    sign = None if key is None else signing(key, signed.name)
    store = open_store(invocation, read_only=True)
    with store.shared_lock():
        index = store.index()
        kept = None if pin is None else read_pin(store.files, pin).members
        entries = {
            entry: None
            for pattern in patterns or (None,)
            for entry in Selection(pattern, fork, profile).of(index)
            if kept is None or entry.key in kept
        }
        export = plan_export(store, entries, with_codes=with_codes)
        size_bytes = (write_directory if directory else write_file)(export, output, sign)
    warn_of_refusals(invocation, index)
    signature = f"{signed}{SIGNATURE_SUFFIX}" if key is not None else None
    if invocation.output.as_json:
        data = {
            "output": str(output),
            "packs": len(export.contents.packs),
            "artifacts": export.artifacts,
            "size_bytes": size_bytes,
            "signature": signature,
            "key": None if key is None else key.public.name,
        }
        invocation.output.document("export", data)
        return
    what = f"{counted(export.artifacts, 'artifact')} in {counted(len(export.contents.packs), 'pack')}"
    invocation.output.say(f"exported {what} to {output}, {human_size(size_bytes)}")
    if key is None:
        invocation.output.say("it is not signed: import asks for --allow-unsigned; --sign KEYFILE signs")
    else:
        invocation.output.say(f"signed with the key {key.public.name}: {signature}")
