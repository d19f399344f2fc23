"""One library of a store into this process, or the reason why not.

Job: profile, file, size, hash, then the loader, then the library's own table against the manifest, in
this order.  Invariants: no byte of a library is mapped before its SHA-256 was compared with the
manifest; what was hashed is what was loaded (device and inode); a refusal is a `LoadError` whose
reference is the reason.
May import: `evmaot.store`, `evmaot.abi`, `evmaot.target`, `evmaot.compiler_version`, errors, runtime.image,
runtime.preloading.
"""

from __future__ import annotations

import hashlib
import os

from evmaot.abi.layout import FINGERPRINT
from evmaot.compiler_version import compiler_digest, installed_llvmlite
from evmaot.errors import LoadError
from evmaot.runtime.image import LoadedLibrary, load_image, open_library
from evmaot.runtime.preloading import ANY, CURRENT, LibraryMapping, Profiles
from evmaot.store.files import READ_CHUNK_BYTES, StoreFiles
from evmaot.store.index import Pack
from evmaot.store.keys import StoredProfile
from evmaot.target import refusal


def profile_refusal(profile: StoredProfile, accepted: Profiles = CURRENT, *, single_error: bool = False) -> str | None:
    """Why this process does not use any library of a profile, or None when it does.

    Reasons: ``profile_other``, ``abi_mismatch``, ``architecture:<name>``, ``isa_missing:<feature>``.
    """
    if not _is_accepted(profile, accepted, single_error):
        return "profile_other"
    if profile.profile.abi != FINGERPRINT:
        return "abi_mismatch"
    return refusal(profile.profile.triple, profile.profile.features)


def _is_accepted(profile: StoredProfile, accepted: Profiles, single_error: bool) -> bool:
    if not isinstance(accepted, str):
        return profile.digest in accepted
    if profile.profile.single_error is not single_error:
        return False
    if accepted == ANY:
        return True
    if profile.profile.compiler != compiler_digest():
        return False
    llvmlite = installed_llvmlite()
    return llvmlite is None or profile.profile.llvmlite == llvmlite


def load_pack(files: StoreFiles, pack: Pack, mapping: LibraryMapping) -> LoadedLibrary:
    """Check a pack's library and load it.

    Raises LoadError: ``object_missing``, ``unreadable``, ``noexec_mount``, ``size_mismatch``,
    ``hash_mismatch``, ``elf_rule:<rule>``, ``dlopen_failed``, ``table_mismatch``, ``abi_mismatch`` (and
    what `runtime.image` names); TrustError ``store_untrusted``.
    """
    path = pack.object_path
    try:
        # Who can write to its directory can put another file there after this one was hashed.
        files.trusted_directory(path.parent)
        # Open until the library is loaded: while it is, nothing else can get its inode number.
        with files.opened(path) as (descriptor, status):
            if mapping is LibraryMapping.FILE and os.fstatvfs(descriptor).f_flag & os.ST_NOEXEC:
                raise _refused("noexec_mount", pack, cause="the file system forbids executable mappings")
            if status.st_size != pack.manifest.object.size:
                cause = f"{status.st_size} bytes, the manifest says {pack.manifest.object.size}"
                raise _refused("size_mismatch", pack, cause=cause)
            data = _checked_bytes(files, descriptor, pack, keep=mapping is LibraryMapping.COPY)
            library: LoadedLibrary
            if data is not None:
                library = load_image(data, subject=str(path))
            else:
                library = open_library(path)
                now = files.system.lstat(str(path))
                if (now.st_dev, now.st_ino) != (status.st_dev, status.st_ino):
                    library.close()
                    raise _refused("hash_mismatch", pack, cause="the file was replaced while it was loaded")
    except FileNotFoundError as error:
        raise _gone(pack) from error
    except LoadError as error:
        # The dynamic loader opens the path anew: it may have gone since it was hashed.
        if error.reference == "dlopen_failed" and not os.path.lexists(path):
            raise _gone(pack) from error
        raise
    except OSError as error:
        raise _refused("unreadable", pack, cause=error.strerror or str(error)) from error
    mismatch = _table_mismatch(library, pack)
    if mismatch is not None:
        library.close()
        raise _refused("table_mismatch", pack, cause=mismatch)
    return library


def _checked_bytes(files: StoreFiles, descriptor: int, pack: Pack, *, keep: bool) -> bytes | None:
    """Hash the open file, at most the size that the manifest says; the bytes themselves where asked for."""
    digest, kept, room = hashlib.sha256(), [], pack.manifest.object.size + 1
    # All at once where it is kept: joined from one piece, the bytes are not copied again.
    piece = room if keep else READ_CHUNK_BYTES
    while room and (chunk := files.system.read(descriptor, min(piece, room))):
        digest.update(chunk)
        room -= len(chunk)
        if keep:
            kept.append(chunk)
    if digest.hexdigest() != pack.manifest.object.sha256:
        raise _refused("hash_mismatch", pack, cause=f"the library's SHA-256 is {digest.hexdigest()}")
    return b"".join(kept) if keep else None


def _table_mismatch(library: LoadedLibrary, pack: Pack) -> str | None:
    """What the library says of itself must be what the manifest says of it."""
    if library.profile_id.hex() != pack.manifest.profile:
        return f"the library is of the profile {library.profile_id.hex()[:16]}"
    for member in pack.manifest.members:
        if (bytes.fromhex(member.code_sha256), bytes.fromhex(member.rules)) not in library.entries:
            return f"the library has no entry for the code with SHA-256 {member.code_sha256}"
    # More entries than members are right: deleting a member rewrites the manifest alone.
    return None


def _gone(pack: Pack) -> LoadError:
    return _refused("object_missing", pack, cause="the manifest's library is not there")


def _refused(reason: str, pack: Pack, *, cause: str) -> LoadError:
    return LoadError(
        reason,
        f"library not loaded: {pack.object_path.name}",
        context={"path": str(pack.object_path)},
        cause=cause,
        hint="evmaot verify --level hash --repair",
    )
