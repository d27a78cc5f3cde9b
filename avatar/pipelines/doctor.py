"""What this machine has, and what is missing for what."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


@dataclass(frozen=True)
class Finding:
    """One thing looked for."""

    name: str
    good: bool
    needed: bool  # nothing works without it
    detail: str


def examine() -> list[Finding]:
    """Look for everything the project can use."""
    return [
        *(_package(), _native(), _torch(), _cuda(), _backends(), _ffmpeg(), _opencv(), _mediapipe(), _assets()),
        *_optional(),
    ]


def _package() -> Finding:
    """The version, the formats it writes, and which older ones it reads."""
    from avatar.core import avatar_file, motion_space, take

    formats = [avatar_file.FORMAT, take.FORMAT, motion_space.FORMAT]
    written = ", ".join(format.tag for format in formats)
    older = ", ".join(f"{format.name}/{format.oldest}" for format in formats if format.oldest < format.version)
    detail = f"{version('avatar-builder')}; writes {written}; `avatar upgrade` rewrites files from {older} on"
    return Finding("avatar-builder", True, True, detail)


def _native() -> Finding:
    try:
        from cuda_ext import ops

        return Finding("native ops", True, True, f"instruction set {ops.isa()}, {ops.get_threads()} threads")
    except ImportError as error:
        return Finding("native ops", False, True, f"{error}; build them with: pip install -e .")


def _torch() -> Finding:
    import torch

    return Finding("torch", True, True, f"{torch.__version__}, {os.cpu_count()} cores")


def _cuda() -> Finding:
    import torch

    from avatar.render.device import describe, missing_for_gpu

    if missing := missing_for_gpu():
        return Finding("CUDA", False, False, f"{missing}; everything runs on the CPU")
    return Finding("CUDA", True, False, f"{describe(torch.device('cuda'))}; used unless --device cpu is given")


def _backends() -> Finding:
    """What computes a NeRF here, with the times that `auto` decides by."""
    import torch

    from avatar.render.nerf.backends import time_backends
    from cuda_ext import native

    name = "NeRF backends"
    if not torch.cuda.is_available() or not native.cuda_architectures():
        return Finding(name, True, False, "native; others, such as tcnn, are for NVIDIA GPUs")
    times = time_backends(torch.device("cuda", torch.cuda.current_device()))
    each = ", ".join(f"{backend} {spent:.2f} ms" for backend, spent in times.items())
    return Finding(name, True, False, f"{each} for a picture's samples; auto picks {min(times, key=times.__getitem__)}")


def _ffmpeg() -> Finding:
    from avatar.core.media import ffmpeg_binary

    try:
        binary = ffmpeg_binary()
        first = subprocess.run([binary, "-version"], capture_output=True, text=True).stdout.splitlines()[0]
        return Finding("ffmpeg", True, True, f"{first.split(' Copyright')[0]} ({binary})")
    except (ImportError, OSError, RuntimeError, IndexError) as error:
        return Finding("ffmpeg", False, True, f"{error}; install it with: pip install imageio-ffmpeg")


def _opencv() -> Finding:
    """Several packages install `cv2` over each other; the one installed last counts."""
    names = ("opencv-python-headless", "opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")
    found = []
    for name in names:
        with suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    if not found:
        return Finding("OpenCV", False, False, "needed to preprocess; pip install opencv-python-headless")
    mixed = "" if len(found) == 1 else "; they share one folder, so keep their versions equal"
    return Finding("OpenCV", True, False, ", ".join(found) + mixed)


def _mediapipe() -> Finding:
    spec = importlib.util.find_spec("mediapipe")
    if spec is None or spec.origin is None:
        return Finding(
            "mediapipe", False, False, "optional: --tracker mediapipe; pip install 'avatar-builder[mediapipe]'"
        )
    modules = Path(spec.origin).parent / "modules"
    models = sorted(path.name for path in modules.rglob("*.tflite"))
    needed = {"face_landmark_with_attention.tflite", "selfie_segmentation.tflite"}
    missing = needed - set(models)
    if missing:
        return Finding("mediapipe models", False, False, f"{', '.join(missing)} not in the wheel; use 0.10.21")
    return Finding("mediapipe models", True, False, f"{version('mediapipe')}, {len(models)} models in the wheel")


def _assets() -> Finding:
    folder = Path(__file__).parent.parent / "assets"
    names = sorted(path.name for path in folder.glob("*.safetensors"))
    needed = {"motion_space.safetensors", "encoder.safetensors", "face_networks.safetensors", "mouth_cover.safetensors"}
    good = needed <= set(names)
    return Finding("shipped weights", good, True, ", ".join(names) or "none; install the package again")


def _optional() -> list[Finding]:
    found = []
    tcnn = "git+https://github.com/NVlabs/tiny-cuda-nn/#subdirectory=bindings/torch"
    wanted = (
        ("gsplat", "another rasterizer on NVIDIA GPUs", "'avatar-builder[cuda]'"),
        ("nerfacc", "occupancy grids on NVIDIA GPUs", "'avatar-builder[cuda]'"),
        ("tinycudann", "the NeRF's encodings and networks on NVIDIA GPUs", tcnn),
        ("scikit-image", "meshes of NeRF avatars", "'avatar-builder[mesh]'"),
    )
    for name, what, package in wanted:
        try:
            found.append(Finding(name, True, False, version(name)))
        except PackageNotFoundError:
            found.append(Finding(name, False, False, f"optional: {what}; pip install {package}"))
    return found
