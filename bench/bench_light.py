"""Whether an avatar in another light looks as a film in that light would, and what it costs.

    python -m bench.bench_light actor [--seeds 0 1] [--steps 500]
    python -m bench.bench_light room AVATAR TAKE
    python -m bench.bench_light time AVATAR

`actor` films the synthetic actor, builds as a user would, last fifth held out, and compares with the same frames filmed
under three other lights: PSNR of the person, each picture at its best exposure, since a clip's own is not known.
`room`: PSNR of the face in the fifth of held-out frames whose heads turn most. `time`: processor time of one thread.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from avatar.core.avatar_file import load_avatar
from avatar.core.light import DISPLAY
from avatar.core.take import open_take, read_frames, read_track, with_size
from avatar.metrics import region_masks
from avatar.play.lighting import Lighting
from avatar.play.look import Look
from avatar.play.player import Player, motion_of_take
from avatar.render import open_renderer
from avatar.render.gaussian import GaussianRenderer
from avatar.render.gaussian.shading import Shading
from avatar.scene.lamps import log_light
from avatar.scene.scene import Scene
from bench.quality import run
from preprocess.actor import cut_out_actor, film_actor
from preprocess.actor_drawing.raster import Lamps

SECONDS, HOLDOUT = 8.0, 0.2
FRAMES = (165, 175, 185, 195)
LIGHTS = {
    "warm, from the right": Lamps(
        key=(0.75, -0.35, -0.56), key_light=(0.85, 0.65, 0.45), fill=(-0.8, -0.1, -0.5), fill_light=(0.08, 0.1, 0.14),
        ambient=(0.3, 0.3, 0.33),
    ),
    "from above": Lamps(
        key=(0, -0.9, -0.44), key_light=(0.75, 0.72, 0.70), fill=(0, 0.3, -0.9), fill_light=(0.08, 0.08, 0.08),
        ambient=(0.25, 0.26, 0.28),
    ),
    "cool, from below left": Lamps(
        key=(-0.85, 0.2, -0.49), key_light=(0.5, 0.62, 0.8), fill=(0.8, -0.1, -0.5), fill_light=(0.1, 0.1, 0.1),
        ambient=(0.25, 0.28, 0.34),
    ),
}  # fmt: skip


def psnr(drawn: np.ndarray, truth: np.ndarray, inside: np.ndarray) -> float:
    """PSNR in dB inside a mask, the drawn picture at its best exposure."""
    one, two = drawn[inside], truth[inside]
    return -10 * math.log10(np.square((one * two).sum() / (one * one).sum() * one - two).mean())


def measure_actor(seed: int, steps: int) -> None:
    """Print PSNR as filmed and in another light, for each light."""
    with tempfile.TemporaryDirectory() as name:
        film, avatar = Path(name) / "actor.mp4", Path(name) / "actor.avatar"
        film_actor(film, seconds=SECONDS, seed=seed)
        run("build", film, "-o", avatar, "--steps", steps, "--holdout", HOLDOUT, "--synthetic")
        opened, track = load_avatar(avatar), read_track(open_take(avatar.with_suffix(".take")))
    renderer, motion = open_renderer(opened), track.motion()
    assert isinstance(renderer, GaussianRenderer)
    assert opened.light is not None
    shading = Shading(opened.light, renderer.blendshapes, renderer.scaling, opened.style.own)
    print(f"seed {seed}: the light found explains {opened.light.explained:.2f} of the skin")
    for name, lamps in LIGHTS.items():
        values = []
        light = log_light(lambda normals, lamps=lamps: torch.from_numpy(lamps(normals.numpy())[0]).float().pow(DISPLAY))
        for frame, filmed in zip(
            FRAMES, cut_out_actor(list(FRAMES), seconds=SECONDS, seed=seed, light=lamps), strict=True
        ):
            tint = shading.tint(motion[frame : frame + 1], light)
            inside, one = filmed[..., 3] > 252, range(frame, frame + 1)
            pictures = (renderer.render(motion, one), renderer.render(motion, one, None, lambda c, tint=tint: c * tint))
            drawn = (rgb[0].permute(1, 2, 0).numpy() for rgb, _ in pictures)
            values.append([psnr(picture, filmed[..., :3] / 255.0, inside) for picture in drawn])
        before, after = np.mean(values, 0)
        print(f"  {name}: {before:.1f} dB as filmed, {after:.1f} dB in that light")


def measure_room(place: Path, take_place: Path) -> None:
    """Print the face's PSNR where heads turn most, as filmed and with the room's light."""
    avatar = load_avatar(place)
    take = open_take(take_place)
    take = take if take.camera.size == avatar.camera.size else with_size(take, avatar.camera.size)
    track, motion = read_track(take), motion_of_take(avatar, take)
    assert avatar.trained_on
    held_out = list(range(avatar.trained_on.stop - take.first_source_frame, take.length))
    if not held_out:
        raise ValueError(f"{place}: was trained on all of the Take")
    turn = track.rotation[held_out] @ avatar.renderer["rest_rotation"].float().mT
    angle = torch.acos(((turn.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2).clamp(-1, 1))
    frames = [held_out[index] for index in angle.argsort(descending=True)[: max(4, len(held_out) // 5)].tolist()]
    for light in ("keep", "room"):
        drawn = Player(avatar, look=Look(scene=Scene(light=light)), mark="none").reenact(motion[torch.tensor(frames)])
        errors = []
        for frame, picture in zip(frames, drawn, strict=True):
            face = region_masks(track.landmarks[frame], take.camera.size)["face"]
            assert face is not None
            difference = picture.astype(float) - read_frames(take, [frame])[0].numpy()
            errors.append(np.square(difference[face.numpy().astype(bool)]).mean())
        print(f"{light}: {10 * math.log10(255**2 / np.mean(errors)):.2f} dB")


def measure_time(place: Path) -> None:
    """Print milliseconds of one thread a frame, in batches of eight."""
    avatar, picture = load_avatar(place), "gradient:#405060:#c0a080"
    motion, size = avatar.style.own[:8], avatar.camera.size
    films = list(torch.randint(0, 255, (8, size, size, 3), dtype=torch.uint8))
    torch.set_num_threads(1)
    for name, scene in {
        "left": Scene(light="left"), "room": Scene(light="room"), "match": Scene(grade="match"),
        "background and match, a film": Scene(light="background", grade="match"),
    }.items():  # fmt: skip
        canvas = Player(avatar, look=Look(background=picture, scene=scene), device="cpu", mark="none").canvas
        assert canvas.lit
        lighting, behind = Lighting(canvas.lit), films if "film" in name else [canvas.behind.plate]
        colours = torch.rand(8, len(avatar.renderer["rigidity"]), 3)
        print(f"{name}: {_best(lambda: lighting.recolour(motion, behind, None)(colours)) / 8:.2f} ms")  # noqa: B023


def _best(call: Callable[[], object]) -> float:
    times = []
    for _ in range(20):
        start = time.process_time()
        with torch.inference_mode():
            call()
        times.append(time.process_time() - start)
    return 1000 * min(times)


def main() -> None:
    """Parse the arguments and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    actor = commands.add_parser("actor")
    actor.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    actor.add_argument("--steps", type=int, default=500)
    room = commands.add_parser("room")
    room.add_argument("avatar", type=Path)
    room.add_argument("take", type=Path)
    commands.add_parser("time").add_argument("avatar", type=Path)
    given = parser.parse_args()
    if given.command == "actor":
        for seed in given.seeds:
            measure_actor(seed, given.steps)
    elif given.command == "room":
        measure_room(given.avatar, given.take)
    else:
        measure_time(given.avatar)


if __name__ == "__main__":
    main()
