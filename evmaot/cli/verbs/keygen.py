"""`evmaot keygen`: a pair of keys that sign exports.

Job: make, write, tell.  Invariants: no key is overwritten; the secret one is readable by its owner alone, and in no
store.  May import: `evmaot.sharing`, `evmaot.cli`, click.
"""

from __future__ import annotations

from pathlib import Path

import click

from evmaot.cli.invocation import Invocation, Verb, pass_invocation


@click.command("keygen", cls=Verb)
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE")
@pass_invocation
def command(invocation: Invocation, path: Path) -> None:
    """Make a pair of keys that sign exports: the secret one in FILE, the public one in FILE.pub.

    The format is that of minisign, without a password; a key of minisign -G, with a password or without one, does as
    well. Whoever has FILE can sign as you; FILE.pub, or the line in it, is what others trust.
    """
    from evmaot.cli.sharing import require_outside
    from evmaot.sharing.signature import new_secret_key, write_key_pair

    require_outside(invocation, path, "a secret key")
    key = new_secret_key()
    public = write_key_pair(path, key)
    output = invocation.output
    if output.as_json:
        data = {"secret_key_file": str(path), "public_key_file": str(public), "public_key": key.public.text,
                "key": key.public.name}  # fmt: skip
        output.document("keygen", data)
        return
    output.say(f"the secret key is in {path}: keep it, and show it to nobody")
    output.say(f"who should trust it needs {public}, or the line:")
    output.data(key.public.text)
