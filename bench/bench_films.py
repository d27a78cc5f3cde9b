"""Films against the real ones: python -m bench.bench_films TAKE=NAME.avatar... [--people TAKE...] [--landmarker FILE]

Each avatar's speech model is fitted anew to the first 60 % of its Take's first 20 s, by other people's lips without
the person (--people), and brought to the picture (`match_drawn_lips`); it speaks the rest, and the film is compared
with the real one, *lips seen* of `avatar evaluate`: by the face networks, or by a landmarker that had no part in making
it. Last, the film of the true motion, which is what the picture allows. Writes bench/results/films.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from avatar.core.avatar_file import Avatar, load_avatar
from avatar.core.controls import Controls
from avatar.core.lips import POSITIONS
from avatar.core.media import SAMPLE_RATE
from avatar.core.motion_space import Motion, concatenate
from avatar.core.take import Take, open_take, read_audio, read_frames, read_track, with_size
from avatar.learn import adapt as adaptation
from avatar.learn.people_lips import fit_people_lips, read_spoken_lips
from avatar.motion.encoder import load_encoder
from avatar.pipelines.drawn_lips import match_drawn_lips
from avatar.pipelines.evaluate_speech import compare_seen_lips
from avatar.play.player import Player, motion_of_take
from preprocess.detectors import open_detector, open_landmarker
from preprocess.trackers import detect_by

FRAMES, FITTED, SEEN = 500, 0.6, 0.3
FIGURES = ("correlation", "amplitude", "quick part")


def usable_frames(take: Take) -> list[int]:
    """The first frames that training may use and in which a face is seen."""
    track = read_track(take)
    frames = sorted({*take.training_frames(), *take.test})
    return [frame for frame in frames if track.confidence[frame] > SEEN][:FRAMES]


def fit(avatar: Avatar, take: Take, frames: list[int]) -> Avatar:
    """The avatar with a speech model of these frames alone."""
    model, style = adaptation.adapt(read_audio(take), read_track(take), frames=frames, seed=0)
    first = replace(take, test=range(frames[-1] + 1, take.length))
    return match_drawn_lips(replace(avatar, speech=model, style=style), first)


def films(avatar: Avatar, take: Take, tested: range) -> dict[str, np.ndarray]:
    """Frames [T, S, S, 3] of the real film, of the avatar that speaks, and of its true motion."""
    player = Player(avatar, controls=Controls(), device="cpu", mark="none")
    sound = read_audio(take)[: round((tested.stop + 12) * SAMPLE_RATE / take.fps)]
    spoken = concatenate(list(player.motion(sound.split(SAMPLE_RATE))))

    def film(motion: Motion) -> np.ndarray:
        frames = torch.arange(tested.start, tested.stop).clamp(0, len(motion) - 1)
        return np.stack(list(player.draw([motion[frames]])))

    return {
        "real": read_frames(take, tested).numpy(),
        "driven": film(spoken),
        "true motion": film(motion_of_take(avatar, take)),
    }


def find_lips(film: np.ndarray, landmarker: Path | None) -> tuple[Tensor, Tensor]:
    found = open_landmarker(landmarker, 25.0) if landmarker else open_detector("auto", torch.device("cpu"))
    return detect_by(found, list(film))


def measure(pair: str, landmarker: Path | None) -> dict[str, dict[str, list[float]]]:
    """By film, by figure, of POSITIONS."""
    take_path, avatar_path = pair.split("=")
    avatar = load_avatar(Path(avatar_path))
    take = with_size(open_take(Path(take_path)), avatar.camera.size)
    chosen = usable_frames(take)
    border = round(FITTED * len(chosen))
    made = films(fit(avatar, take, chosen[:border]), take, range(chosen[border], chosen[-1] + 1))
    found = {name: find_lips(film, landmarker) for name, film in made.items()}
    seen = torch.stack([shown for _, shown in found.values()]).all(0)
    real, result = found["real"][0][seen], {}
    for name in ("driven", "true motion"):
        scores = {score.metric: score.value for score in compare_seen_lips(found[name][0][seen], real)}
        result[name] = {figure: [scores[f"{lip} {figure}"] for lip in POSITIONS] for figure in FIGURES}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="+", metavar="TAKE=NAME.avatar")
    parser.add_argument("--people", nargs="*", type=Path, default=[])
    parser.add_argument("--landmarker", type=Path)
    options, encoder = parser.parse_args(), load_encoder()
    known = {path.name: read_spoken_lips(open_take(path), encoder) for path in options.people}
    rows = {}
    for pair in options.pairs:
        name = Path(pair.split("=")[0]).name
        others = [lips for other, lips in known.items() if other != name]
        people = fit_people_lips(others) if known else adaptation.load_people_lips(encoder)
        with mock.patch.object(adaptation, "load_people_lips", lambda _, people=people: people):
            rows[name] = measure(pair, options.landmarker)
        print(name, *(f"{value:.2f}" for value in rows[name]["driven"]["correlation"]), flush=True)
    print_means(list(rows.values()))
    by = options.landmarker.name if options.landmarker else "face networks"
    Path("bench/results/films.json").write_text(json.dumps({"read by": by, "people": rows}, indent=1))


def print_means(rows: Sequence[dict[str, dict[str, list[float]]]]) -> None:
    print(f"{'mean':<28}" + " / ".join(POSITIONS))
    for film in ("driven", "true motion"):
        for figure in FIGURES:
            means = torch.tensor([row[film][figure] for row in rows]).mean(0).tolist()
            print(f"{film + ', ' + figure:<28}" + " / ".join(f"{value:.3f}" for value in means))


if __name__ == "__main__":
    main()
