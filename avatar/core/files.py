"""Errors a person can mend, and files that are whole or absent."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
import stat
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from safetensors import safe_open

if TYPE_CHECKING:
    from torch import Tensor

DTYPES = {
    "torch.float64": "F64", "torch.float32": "F32", "torch.float16": "F16",
    "torch.int64": "I64", "torch.int32": "I32", "torch.int8": "I8", "torch.uint8": "U8",
}  # fmt: skip
LONG_NAME, LONG_SUFFIX = 200, 16  # bytes; names of 255 are legal, and temporary ones are longer than the name itself


PROCESS = "{process}"  # in the text of a refusal
BEYOND = 1 << 30  # the byte that Windows locks: where nothing is written, since it keeps readers out, too


class UserError(Exception):
    """Something a person can mend. Its text is one line: the thing, what is wrong, what to do."""


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path` (a file or a folder); rename it to `path` on success, remove it on failure.

    What stands there is treated as its owner expects: a link stays one, and what it leads to is written; permissions
    stay; a folder is replaced as a whole; a pipe or device is written into, when all is there.
    Raises: UserError when the place cannot be written or the disk is full.
    """
    check_writable(path)
    stream = is_stream(path)
    place = Path(tempfile.mkdtemp()) / path.name if stream else Path(os.path.realpath(path))
    temporary = place.with_name(_temporary_name(path))
    try:
        yield temporary
        if stream:
            with temporary.open("rb") as source, path.open("wb") as target:
                shutil.copyfileobj(source, target)
        else:
            _set_permissions(temporary, place)
            _replace(temporary, place, place.with_name(_temporary_name(path)))
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        remove(place.parent if stream else temporary)


def remove(path: Path) -> None:
    """Remove a file or a folder, where there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def remove_folder(path: Path) -> None:
    """Remove a folder, where there is one, at once: a kill in between leaves no half of it at `path`."""
    if path.is_dir():
        away = path.with_name(_temporary_name(path))
        os.replace(path, away)
        remove(away)


def _replace(temporary: Path, place: Path, away: Path) -> None:
    """Rename to `place`; a folder there is moved away at once, so that a kill in between leaves no half of it."""
    swapped = temporary.is_dir() and place.is_dir()
    if swapped:
        os.replace(place, away)
    try:
        os.replace(temporary, place)
    except OSError:
        if swapped:
            os.replace(away, place)
        raise
    remove(away)


def hidden_sibling(path: Path, kind: str) -> Path:
    """Where something is kept beside `path` while it is made, by a name that is legal wherever the path's is."""
    name = path.name if len(os.fsencode(path.name)) <= LONG_NAME else _short_stem(path)
    return path.with_name(f".{name}.{kind}")


def _temporary_name(path: Path) -> str:
    """A new name for what is kept while `path` is made or removed; `remove_leftovers` knows it."""
    return f".{_short_stem(path)}.{uuid.uuid4().hex[:8]}.part{_short_suffix(path)}"


def _short_stem(path: Path) -> str:
    """The stem of a file's name, or where a longer name would not be legal, a digest of it."""
    name = os.fsencode(path.name)
    return path.stem if len(name) <= LONG_NAME else hashlib.sha256(name).hexdigest()[:16]


def _short_suffix(path: Path) -> str:
    """The ending of a file's name, by which encoders go; none where it is no ending."""
    return path.suffix if len(os.fsencode(path.suffix)) <= LONG_SUFFIX else ""


def remove_leftovers(path: Path) -> None:
    """Remove what a killed process left of `whole(path)`; nobody else may be writing `path`."""
    stem, suffix = glob.escape(_short_stem(path)), glob.escape(_short_suffix(path))
    for left in Path(os.path.realpath(path)).parent.glob(f".{stem}.{'[0-9a-f]' * 8}.part{suffix}"):
        remove(left)


def _set_permissions(path: Path, place: Path) -> None:
    """Give a file the permissions of the one that it replaces, else those of any new file, not a library's own."""
    if not path.is_file():
        return
    if place.is_file():
        path.chmod(stat.S_IMODE(place.stat().st_mode))
    else:
        mask = os.umask(0)
        os.umask(mask)
        path.chmod(0o666 & ~mask)


def is_stream(path: Path) -> bool:
    """Whether what stands at `path` is written into and never replaced: a pipe, a device, or an open file of /dev."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    of_process = str(path.absolute()).startswith(("/dev/std", "/dev/fd/", "/proc/"))  # may be files, as a shell opens
    return of_process or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def check_writable(path: Path) -> None:
    """Raise UserError unless a file or folder can be made at `path`; makes nothing but missing parent folders."""
    if is_stream(path):
        return
    if path.is_file() and not path.stat().st_mode & 0o222:  # renaming to it would not ask
        raise UserError(f"{path}: is write-protected; choose another output")
    parent = Path(os.path.realpath(path)).parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: its folder cannot be made ({error.strerror}); choose another output") from error
    if not os.access(parent, os.W_OK):
        raise UserError(f"{path}: its folder is not writable; choose another output")


@contextmanager
def hold(lock: Path, refusal: str) -> Iterator[None]:
    """Hold a lock file for this process until the end, also when it is killed; the file goes away then.

    Raises: UserError, `refusal` with the number of the other process in place of PROCESS, when one holds it.
    """
    check_writable(lock)
    with _open_lock(lock, refusal) as file:
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _open_lock(lock: Path, refusal: str) -> IO[str]:
    while True:
        file = lock.open("a+")
        try:
            _lock_whole(file)
        except BlockingIOError as error:
            with file:
                file.seek(0)
                raise UserError(refusal.replace(PROCESS, file.read().strip() or "another")) from error
        if lock.exists() and lock.stat().st_ino == os.fstat(file.fileno()).st_ino:
            return file
        file.close()  # whoever held it has taken the file away in between


def _lock_whole(file: IO[str]) -> None:
    """Raises: BlockingIOError when another process has locked it."""
    if sys.platform == "win32":
        import msvcrt

        file.seek(BEYOND)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise BlockingIOError from error
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def sole_maker(out: Path) -> AbstractContextManager[None]:
    """Make `out` in this process alone. Raises: UserError when another process makes it."""
    return hold(hidden_sibling(out, "lock"), f"{out}: is being made by process {PROCESS}; wait, or end it")


def check_readable(path: Path, what: str) -> None:
    """Raise UserError unless `path` is an existing regular file that can be read."""
    if not path.exists():
        raise UserError(f"{path}: no such {what}; check the name")
    if not path.is_file():
        raise UserError(f"{path}: is not a file; give a {what}")
    if not os.access(path, os.R_OK):
        raise UserError(f"{path}: cannot be read; check its permissions")


def plain_text(name: str) -> str:
    """A file's name as text that can be stored and shown, whatever its bytes are."""
    return os.fsencode(name).decode("utf-8", "replace")


def digest_file(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def open_tensors(path: Path) -> Iterator[Any]:
    """A safetensors file of any name, open as the library's `safe_open` has it, which takes names in UTF-8 alone.

    Raises: SafetensorError, OSError for another file.
    """
    with ExitStack() as stack:
        try:
            name = os.fsencode(path).decode()
        except UnicodeDecodeError:
            name = f"/dev/fd/{stack.enter_context(path.open('rb')).fileno()}"
        yield stack.enter_context(safe_open(name, "pt"))


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of a safetensors file, mapped into memory rather than read, and its metadata.

    Raises: SafetensorError, OSError for another file.
    """
    with open_tensors(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


def stream_safetensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Write contiguous tensors on the CPU as safetensors, the same file for the same content, without a copy of them.

    The library's own writer holds everything twice more, which an hour of landmarks has no room for, and writes
    metadata in any order.
    """
    with whole(path) as temporary, temporary.open("wb") as file:
        write_safetensors(tensors, file, metadata)


def write_safetensors(tensors: dict[str, Tensor], file: IO[bytes], metadata: dict[str, str]) -> None:
    """As `stream_safetensors`, into an open file."""
    header: dict[str, Any] = {"__metadata__": metadata}
    stop = 0
    tensors = dict(sorted(tensors.items(), key=lambda item: -item[1].element_size()))  # so that all lie aligned
    for name, tensor in tensors.items():
        start, stop = stop, stop + tensor.element_size() * tensor.numel()
        kind = DTYPES[str(tensor.dtype)]
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [start, stop]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for tensor in tensors.values():
        file.write(tensor.numpy().data)
