"""Files of earlier formats, rewritten in the present one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from safetensors import SafetensorError

from avatar.core import avatar_file, motion_space, take
from avatar.core.avatar_file import load_avatar, save_avatar
from avatar.core.files import UserError, open_tensors
from avatar.core.motion_space import load_motion, save_motion
from avatar.core.take import open_take, write_take
from avatar.pipelines.build import frame_matte


def upgrade(path: Path | str) -> str:
    """Rewrite an avatar, motion or Take in the present format; returns what was done, in a line.

    Raises: UserError for a file of another kind, or of a version that cannot be converted.
    """
    path = Path(path)
    if path.is_dir():
        return _upgrade_take(path)
    tag = _read_tag(path)
    if tag.startswith("avatar/"):
        return _upgrade_avatar(path, tag)
    if tag.startswith("motion/"):
        motion = load_motion(path)
        if tag == motion_space.FORMAT.tag:
            return f"{path}: is of format {tag} already"
        save_motion(motion, path, motion.space_id)
        return f"{path}: {tag} -> {motion_space.FORMAT.tag}"
    raise UserError(f"{path}: is no avatar, motion or take; only these are upgraded")


def _upgrade_avatar(path: Path, tag: str) -> str:
    avatar = load_avatar(path)
    lacks_matte = len(avatar.frame) > 0 and avatar.matte.numel() == 0
    if tag == avatar_file.FORMAT.tag and not lacks_matte:
        return f"{path}: is of format {tag} already"
    if lacks_matte:
        avatar = replace(avatar, matte=frame_matte(avatar.frame.numpy().tobytes()))
    save_avatar(avatar, path)
    return f"{path}: {tag} -> {avatar_file.FORMAT.tag}"


def _upgrade_take(root: Path) -> str:
    found = open_take(root)
    version = json.loads((root / "take.json").read_text())["format"]
    if version == take.FORMAT.version:
        return f"{root}: is of format {take.FORMAT.tag} already"
    write_take(found, root)
    return f"{root}: take/{version} -> {take.FORMAT.tag}"


def _read_tag(path: Path) -> str:
    try:
        with open_tensors(path) as file:
            return str((file.metadata() or {}).get("format", ""))
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: is no avatar, motion or take ({error})") from error
