"""Pulling: what another machine exported, from a web server.

Job: a URL to imported packs.  A URL whose name ends in .tar or .zst is one file; every other is a directory that
`evmaot export --directory` wrote, of which only the packs that are not there already are fetched.  Invariants: those
of `evmaot.sharing.importing`; a directory's list is verified first, and every file of it against the list.
May import: `evmaot.errors`, `evmaot.sharing`, `evmaot.store`.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
from typing import Final
from urllib.parse import urljoin, urlsplit

from evmaot.errors import InputError, UsageError
from evmaot.inputs.live.endpoint import shown_url
from evmaot.sharing.archive import ArchiveReader
from evmaot.sharing.contents import CONTENTS_NAME, MAX_CONTENTS_BYTES, ExportedFile, damaged, parse_contents
from evmaot.sharing.download import Fetcher, endpoint_of
from evmaot.sharing.exporting import SIGNATURE_SUFFIX
from evmaot.sharing.importing import Importer, ImportReport, import_archive
from evmaot.sharing.source import MAX_SIGNATURE_BYTES, signature_text
from evmaot.sharing.trust import Policy, Signer, signer
from evmaot.store.directory import ArtifactDirectory

_ARCHIVE_ENDINGS: Final = (".tar", ".zst")


def pull(
    url: str, store: ArtifactDirectory, importer: Importer, policy: Policy, fetcher: Fetcher, limit_bytes: int
) -> tuple[Signer, ImportReport]:
    """Import what is at a URL.

    Raises UsageError, InputError ``http_*``; what importing raises.  What was whole before a failure is stored.
    """
    policy.require_usable()
    endpoint_of(url)
    if urlsplit(url).path.endswith(_ARCHIVE_ENDINGS):
        return _pull_archive(url, store, importer, policy, fetcher, limit_bytes)
    return _pull_directory(url, importer, policy, fetcher, limit_bytes)


def _missing(url: str) -> InputError:
    return InputError(
        "http_missing",
        "the server has no such file",
        context={"subject": shown_url(url)},
        hint="a directory is one that evmaot export --directory wrote; a file's name ends in .tar or .tar.zst",
    )


def _beside(url: str) -> str:
    """The URL of the signature; what follows the path stays."""
    parts = urlsplit(url)
    return parts._replace(path=parts.path + SIGNATURE_SUFFIX).geturl()


def _signature(url: str, fetcher: Fetcher) -> str | None:
    data = fetcher.read(_beside(url), MAX_SIGNATURE_BYTES)
    return None if data is None else signature_text(data)


def _pull_archive(
    url: str, store: ArtifactDirectory, importer: Importer, policy: Policy, fetcher: Fetcher, limit_bytes: int
) -> tuple[Signer, ImportReport]:
    signature = _signature(url, fetcher)
    with tempfile.TemporaryFile(dir=store.paths.tmp) as stream:
        if not fetcher.fetch(url, stream, limit_bytes):
            raise _missing(url)
        stream.seek(0)
        by = signer(policy, stream, signature, shown_url(url))
        stream.seek(0)
        importer.signed_by = by.public
        return by, import_archive(importer, ArchiveReader(stream, limit_bytes=limit_bytes))


def _pull_directory(
    url: str, importer: Importer, policy: Policy, fetcher: Fetcher, limit_bytes: int
) -> tuple[Signer, ImportReport]:
    if not urlsplit(url).path.endswith(".json"):
        parts = urlsplit(url)
        url = parts._replace(path=f"{parts.path.rstrip('/')}/{CONTENTS_NAME}").geturl()
    signature = _signature(url, fetcher)
    data = fetcher.read(url, MAX_CONTENTS_BYTES)
    if data is None:
        raise _missing(url)
    by = signer(policy, io.BytesIO(data), signature, shown_url(url))
    importer.signed_by = by.public
    contents = parse_contents(data)
    wanted = [pack for pack in contents.packs if not importer.is_known(pack)]
    size_bytes = sum(file.size for pack in wanted for file in pack.files)
    if size_bytes > limit_bytes:
        words = f"the packs that are missing here have {size_bytes} bytes, at most {limit_bytes} are allowed"
        raise UsageError("export_too_large", words, hint="--max-size allows more")
    profiles: dict[str, bytes] = {}

    def fetched(file: ExportedFile) -> bytes:
        body = fetcher.read(urljoin(url, file.name), file.size)
        if body is None or hashlib.sha256(body).hexdigest() != file.sha256:
            what = "it is not there" if body is None else "its SHA-256 is not the one in the list"
            raise damaged(what, file.name)
        return body

    try:
        for pack in contents.packs:
            if pack not in wanted:
                importer.report.known.append(pack.object_sha256)
                continue
            if pack.profile.name not in profiles:
                profiles[pack.profile.name] = fetched(pack.profile)
            codes = None if pack.codes is None else fetched(pack.codes)
            importer.take(pack, profiles[pack.profile.name], fetched(pack.manifest), fetched(pack.library), codes)
    finally:
        importer.finish()
    return by, importer.report
