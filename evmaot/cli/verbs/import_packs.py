"""`evmaot import`: what another machine exported, into the store.

Job: trust, judge, publish, tell.  Invariant: nothing is taken from a file before its signature was found right, or the
lack of one was allowed.  May import: `evmaot.sharing`, `evmaot.store`, `evmaot.cli`, click.
"""

from __future__ import annotations

from pathlib import Path

import click

from evmaot.cli.invocation import Invocation, Verb, pass_invocation
from evmaot.cli.sharing import trust_options


@click.command("import", cls=Verb)
@click.argument("source", type=click.Path(path_type=Path), metavar="FILE")
@trust_options()
@click.pass_context
@pass_invocation
def command(
    invocation: Invocation,
    context: click.Context,
    source: Path,
    keys: tuple[str, ...],
    allow_unsigned: bool,
    max_size_bytes: int,
) -> None:
    """Import packs that evmaot export wrote to a FILE on another machine.

    FILE.minisig must be the signature of a key that is trusted: one of --key, or of share.trusted_keys in your own
    configuration. Each pack is hashed and judged before it is published. What is there already stays as it is, so
    importing again changes nothing; profiles stay what they are, and what this machine cannot load is stored and told.
    """
    from evmaot.cli.sharing import tell_import, trust_policy
    from evmaot.cli.stores import open_store
    from evmaot.sharing.archive import ArchiveReader
    from evmaot.sharing.importing import Importer, import_archive
    from evmaot.sharing.source import private_copy, require_readable, signature_beside
    from evmaot.sharing.trust import signer

    policy = trust_policy(invocation, keys, allow_unsigned=allow_unsigned)
    signature = signature_beside(source)
    require_readable(source)
    store = open_store(invocation, create=True)
    importer = Importer(store, "import", invocation.output.detail)
    with private_copy(source, store.paths.tmp) as stream:
        by = signer(policy, stream, signature, str(source))
        stream.seek(0)
        importer.signed_by = by.public
        report = import_archive(importer, ArchiveReader(stream, limit_bytes=max_size_bytes))
    tell_import(invocation, context, "import", str(source), by, report)
