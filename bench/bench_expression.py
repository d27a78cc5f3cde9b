"""Emotions on films, and lips under them: python -m bench.bench_expression NAME.avatar... --landmarker FILE.task.

Each avatar speaks a recording neutrally and with each emotion at strength .8 (head, blinks and gaze still). MediaPipe's
blendshapes are read off every fifth frame; an emotion is in the right direction when the mean change of what it is
named by, weighted by sign, is above 0.01. Lips: of frames whose lips are shut neutrally (opening under 15 % of the
person's range), how many are within a frame under emotion; and what the opening's correlation with the neutral lacks.
Writes bench/results/expression.json, and one picture a person with --pictures DIR.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from avatar.core.avatar_file import load_avatar
from avatar.core.controls import Controls
from avatar.core.emotion import EMOTIONS
from avatar.core.lips import read_lips
from avatar.core.motion_space import Motion, concatenate, load_space
from avatar.core.speech_file import open_speech
from avatar.motion.driver import drive
from avatar.play.player import Player

STRENGTH, EVERY, SECONDS = 0.8, 5, 8
CLOSED, RIGHT = 0.15, 0.01
NAMED: dict[str, dict[str, float]] = {
    "happy": {"mouthSmile": 1, "cheekSquint": 1, "eyeSquint": 1},
    "sad": {"browInnerUp": 1, "browOuterUp": -1, "mouthFrown": 1, "mouthSmile": -1},
    "angry": {"browDown": 1, "browInnerUp": -1, "browOuterUp": -1, "eyeSquint": 1, "mouthPress": 1},
    "fear": {"browInnerUp": 1, "browDown": -1, "eyeWide": 1, "eyeSquint": -1, "mouthStretch": 1},
    "surprised": {"browInnerUp": 1, "browOuterUp": 1, "browDown": -1, "eyeWide": 1, "jawOpen": 1},
    "disgusted": {"noseSneer": 1, "mouthUpperUp": 1, "browDown": 1, "eyeSquint": 1, "browOuterUp": -1},
    "contempt": {"mouthSmileLeft": 1, "mouthSmileRight": -1, "mouthPressLeft": 1, "mouthPressRight": -1,
                 "mouthDimpleLeft": 1, "mouthDimpleRight": -1},
}  # fmt: skip
"""What the blendshapes of an emotion do by the Facial Action Coding System; contempt is of one side."""


def open_landmarker(file: Path) -> Any:
    from mediapipe.tasks import python as tasks

    options = tasks.vision.FaceLandmarkerOptions(tasks.BaseOptions(str(file)), output_face_blendshapes=True)
    return tasks.vision.FaceLandmarker.create_from_options(options)


def read_blendshapes(landmarker: Any, frames: list[np.ndarray]) -> dict[str, float]:
    """Means of MediaPipe's blendshapes over frames [S, S, 3]; empty where there is no face in one of them."""
    import mediapipe

    rows = []
    for frame in frames:
        big = np.ascontiguousarray(np.asarray(Image.fromarray(frame).resize((512, 512), Image.Resampling.BICUBIC)))
        found = landmarker.detect(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=big)).face_blendshapes
        if not found:
            return {}
        rows.append({one.category_name: one.score for one in found[0]})
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def score(name: str, change: dict[str, float]) -> float:
    """Mean signed change of what an emotion is named by, both sides."""
    signed = []
    for shape, sign in NAMED[name].items():
        signed += [sign * change[one] for one in (shape, f"{shape}Left", f"{shape}Right") if one in change]
    return float(np.mean(signed))


def speak(player: Player, sound: torch.Tensor, emotion: str) -> Motion:
    still = Controls(emotion=emotion, blink=0.0, head=0.0, gaze=0.0, temperature=0.0)
    player.controls = still
    return concatenate(list(drive(player.driver(), [sound])))


def lips_under(neutral: Motion, felt: Motion, own: torch.Tensor) -> dict[str, float]:
    reading = read_lips(load_space().basis)[:, 0]
    low, high = (own @ reading).quantile(0.01), (own @ reading).quantile(0.99)
    shut = low + CLOSED * (high - low)
    plain, moved = neutral.expression @ reading, felt.expression @ reading
    near = -functional.max_pool1d(-moved[None, None], 3, stride=1, padding=1)[0, 0]
    closed = plain < shut
    recall = float((near[closed] < shut).float().mean()) if closed.any() else float("nan")
    return {"recall": recall, "lost": 1 - float(torch.corrcoef(torch.stack([plain, moved]))[0, 1])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("avatars", nargs="+", type=Path)
    parser.add_argument("--landmarker", type=Path, required=True, help="MediaPipe's face_landmarker.task")
    parser.add_argument("--speech", type=Path, default=Path("avatar/assets/actor_speech.flac"))
    parser.add_argument("--pictures", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    landmarker, rows = open_landmarker(options.landmarker), []
    with open_speech(options.speech) as opened:
        sound = torch.cat(list(opened.chunks()))[: SECONDS * 16_000]
    for file in options.avatars:
        avatar = load_avatar(file)
        player = Player(avatar, mark="none", device="cpu")
        motions = {name: speak(player, sound, f"{name}:{STRENGTH}") for name in EMOTIONS}
        motions["neutral"] = speak(player, sound, "neutral")
        films = {name: list(player.reenact(motion[25::EVERY])) for name, motion in motions.items()}
        before = read_blendshapes(landmarker, films["neutral"])
        for name in EMOTIONS:
            after = read_blendshapes(landmarker, films[name])
            change = {key: after[key] - before[key] for key in before} if after and before else {}
            most = sorted(change.items(), key=lambda item: -abs(item[1]))[:4]
            row = {"avatar": file.stem, "emotion": name, "score": score(name, change) if change else None}
            row |= lips_under(motions["neutral"][25:], motions[name][25:], avatar.style.own.expression)
            rows.append(row | {"change": dict(most)})
            print(f"{file.stem[:18]:<19}{name:<10} score {row['score'] or 0:+.3f}  recall {row['recall']:.2f}  lost "
                  f"{row['lost']:.3f}  {' '.join(f'{key} {value:+.2f}' for key, value in most)}")  # fmt: skip
        if options.pictures:
            options.pictures.mkdir(parents=True, exist_ok=True)
            strips = [np.concatenate(films[name][5:25:6], 0) for name in ("neutral", *EMOTIONS)]
            Image.fromarray(np.concatenate(strips, 1)).save(options.pictures / f"{file.stem}.png")
    right = sum(row["score"] is not None and row["score"] > RIGHT for row in rows)
    recall = float(np.nanmean([row["recall"] for row in rows]))
    lost = float(np.mean([row["lost"] for row in rows]))
    print(f"{right} of {len(rows)} in the right direction; closure recall {recall:.3f}, correlation lost {lost:.4f}")
    Path("bench/results/expression.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
