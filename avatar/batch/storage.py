"""Places that are URLs: s3://, gs:// and whatever else fsspec opens; not plain paths."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any

from avatar.core.files import UserError

PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}


def _open(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it. Raises: UserError when a package or a permission is missing."""
    try:
        import fsspec

        return fsspec.core.url_to_fs(url)
    except ImportError as error:
        package = PACKAGES.get(url.split("://")[0], "fsspec")
        raise UserError(f"{url}: needs {package}; pip install 'avatar-builder[cloud]'") from error
    except (ValueError, OSError) as error:
        raise UserError(f"{url}: cannot be opened ({error})") from error


def glob_urls(url: str) -> list[str]:
    """The URLs that a glob names."""
    system, path = _open(url)
    return [system.unstrip_protocol(found) for found in system.glob(path)]


def exists(url: str) -> bool:
    """Whether there is a file or folder."""
    system, path = _open(url)
    return bool(system.exists(path))


def tag(url: str) -> str:
    """What changes when the content does, as the store has it (such as an ETag); empty where there is nothing."""
    system, path = _open(url)
    if not system.exists(path):
        return ""
    if system.isdir(path):
        parts = system.find(path, detail=True)
        return "\n".join(f"{name[len(path) :]} {_tag_of(parts[name])}" for name in sorted(parts))
    return _tag_of(system.info(path))


def _tag_of(info: dict[str, Any]) -> str:
    known = ("ETag", "etag", "md5Hash", "crc32c", "size", "mtime", "LastModified", "updated", "created")
    return " ".join(f"{key}={info[key]}" for key in known if key in info)


def fetch(url: str, folder: Path) -> Path:
    """Copy a file or folder into a local folder, under its own name. Raises: UserError when there is none."""
    system, path = _open(url)
    local = folder / Path(path).name
    try:
        system.get(path, str(local), recursive=bool(system.isdir(path)))
    except FileNotFoundError as error:
        raise UserError(f"{url}: does not exist; check the name") from error
    return local


def send(local: Path, url: str) -> None:
    """Copy a local file or Take to a URL; what is there already is replaced at the end, so that no reader sees half.

    A file is written under another name and moved. Of a Take, `take.json`, without which it is none, comes last.
    """
    system, path = _open(url)
    if local.is_dir():
        _send_take(system, local, path)
        return
    temporary = f"{path.rsplit('/', 1)[0]}/.{uuid.uuid4().hex[:8]}.part-{local.name}"
    try:
        system.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        system.put_file(str(local), temporary)
        system.mv(temporary, path)
    except BaseException:
        if system.exists(temporary):
            system.rm(temporary)
        raise


def _send_take(system: Any, local: Path, path: str) -> None:
    index = f"{path}/take.json"
    if system.exists(index):
        system.rm(index)
    for folder, _, names in sorted(os.walk(local), reverse=True):
        for name in sorted(names):
            file = Path(folder) / name
            if file != local / "take.json":
                system.makedirs(f"{path}/{file.relative_to(local).parent}".removesuffix("/."), exist_ok=True)
                system.put_file(str(file), f"{path}/{file.relative_to(local)}")
    system.put_file(str(local / "take.json"), index)
