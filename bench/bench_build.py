"""Video to avatar, stage by stage: python -m bench.bench_build VIDEO --device cuda --output FILE.json [--parts].

Every stage of `avatar build` from nothing, into a folder that is removed: the default recipe, with a number of training
steps in place of a time. --parts: also how many frames a second each part of the looking pass handles by itself, and
how far landmarks and masks of the device lie from those of the CPU, where frames are taken in turn. Needs ffmpeg (the
package imageio-ffmpeg brings one), OpenCV, SciPy, pydantic; not MediaPipe. A CPU's run of a ten-second clip with
--steps 50 takes a minute or two.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch

import argparse
import json
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from avatar.core.stages import Stages

PART_FRAMES, COMPARED_FRAMES = 512, 96

Array = np.ndarray


def build_once(video: Path, device: str, steps: int, folder: Path) -> tuple[Stages, int]:
    """The time of each stage, and how many frames the Take has."""
    stages = Stages()
    with stages.time("import"):
        from avatar.core.recipe import Recipe
        from avatar.core.take import open_take
        from avatar.pipelines.build import build
    build(video, folder / "x.avatar", recipe=Recipe(steps=steps), device=device, stages=stages)
    return stages, open_take(folder / "x.take").length


def measure_parts(video: Path, device: torch.device) -> dict[str, float]:
    """Frames a second of each part, and the device's results against those of the CPU."""
    from avatar.core.media import WHOLE, probe
    from preprocess.crop import choose_crop, find_faces, pick_face, round_crop
    from preprocess.detectors import open_detector
    from preprocess.matte import refine_matte
    from preprocess.reading import read_frames
    from preprocess.spans import describe_frame

    info, detector = probe(video), open_detector("torch", device)
    boxes = [box for box in pick_face(find_faces(video, info, detector), "largest", str(video)) if box]
    crop = round_crop(choose_crop(boxes, info.width, info.height), 512)
    figures: dict[str, float] = {}

    def rate(name: str, start: float) -> None:
        figures[f"{name}_fps"] = len(frames) / (time.perf_counter() - start)

    start = time.perf_counter()
    reader = read_frames(video, info, size=512, crop=crop, fps=25.0, stretch=WHOLE)
    frames = np.stack(list(islice(reader, PART_FRAMES)))
    rate("decode", start)
    batches = [frames[i : i + detector.batch] for i in range(0, len(frames), detector.batch)]
    for name, look in (("landmarks", detector.landmarks), ("masks", detector.masks)):
        look(batches[0])  # loads the network, and compiles what is compiled on first use
        start = time.perf_counter()
        for batch in batches:
            look(batch)
        rate(name, start)
    masks = np.concatenate([detector.masks(batch) for batch in batches])
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        start = time.perf_counter()
        list(pool.map(refine_matte, frames, masks))
        rate("mattes", start)
        start = time.perf_counter()
        list(pool.map(describe_frame, frames))
        rate("descriptions", start)
    return figures | compare(frames[:COMPARED_FRAMES], device)


def compare(frames: Array, device: torch.device) -> dict[str, float]:
    """Landmarks, px, and masks of a device's batches against those of the CPU's frames in turn."""
    from preprocess.detectors import open_detector

    ours, plain = open_detector("torch", device), open_detector("torch", torch.device("cpu"))
    found, expected = ours.landmarks(frames), plain.landmarks(frames)
    both = [(a, b) for a, b in zip(found, expected, strict=True) if a is not None and b is not None]
    apart = np.array([np.square(a[:, :2] - b[:, :2]).sum(1).mean() for a, b in both])
    masks = np.abs(ours.masks(frames) - plain.masks(frames))
    return {
        "found_alike": sum((a is None) == (b is None) for a, b in zip(found, expected, strict=True)) / len(frames),
        "landmarks_rms_px": float(np.sqrt(apart.mean())),
        "landmarks_worst_frame_px": float(np.sqrt(apart.max())),
        "masks_worst": float(masks.max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--parts", action="store_true")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    device = torch.device(options.device)
    card = torch.cuda.get_device_name() if device.type == "cuda" else ""
    figures: dict[str, object] = {"device": options.device, "card": card, "cores": os.cpu_count()}
    with tempfile.TemporaryDirectory() as folder:
        stages, frames = build_once(options.video, options.device, options.steps, Path(folder))
    sys.stdout.write(f"{options.video.name}, {frames} frames, {options.steps} steps, {card or 'CPU'}\n{stages}\n")
    sys.stdout.flush()
    figures |= {"video": options.video.name, "frames": frames, "steps": options.steps}
    figures |= {"seconds": stages.seconds, "all_seconds": sum(stages.seconds.values())}
    if options.output:
        options.output.write_text(json.dumps(figures, indent=1))
    if options.parts:
        parts = measure_parts(options.video, device)
        sys.stdout.write("".join(f"  {name:<26}{value:10.4g}\n" for name, value in parts.items()))
        figures["parts"] = parts
        if options.output:
            options.output.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
