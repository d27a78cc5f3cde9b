"""How well the sync expert reads offsets and tells sounds apart: python -m bench.bench_sync TAKE... [--sounds FILE...]

Give Takes of people whom the expert was not fitted to (avatar/assets/sync_expert.md names those it was). For windows of
1, 2, 3 and 5 s: how often the offset is within a frame of the whole clip's own; how often the person's own sound, at
its best offset, is liker than all sounds of up to 24 others at theirs; the error of a known shift of the sound, by
fractions of a frame; how often a wrong sound is said to be followed, and the right one not to be. The others are the
other people of the Takes, then the speech in FILEs. Then how far apart the halves of a clip read. Writes
bench/results/sync.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from avatar.core.media import find_speech, read_speech
from avatar.core.sync import SyncReading, move_sound
from avatar.core.take import open_take, read_audio
from avatar.learn.sync_expert import SyncClip, make_sync_clip
from avatar.motion.articulation import encode_sound
from avatar.motion.sync import (
    FPS,
    SEARCHED,
    certainty_terms,
    find_peaks,
    likeness_curves,
    load_sync_expert,
    measure_embedded,
    measure_encoded,
)

SECONDS = (1.0, 2.0, 3.0, 5.0)
MOST_OTHERS = 24
MOST_FRAMES = 375  # of one person, so that nobody counts many times
SHIFTS = (-0.068, -0.031, 0.017, 0.052)  # s: no whole frames
SHIFTED_SECONDS = 10.0


def shorten(clip: SyncClip, most: int = MOST_FRAMES) -> SyncClip:
    """The first frames of a clip."""
    return replace(clip, encoded=clip.encoded[:most], expression=clip.expression[:most], seen=clip.seen[:most])


def windows_of(clip: SyncClip, seconds: float) -> list[slice]:
    """Windows, half overlapping, in nine tenths of whose frames a face is seen."""
    width = round(seconds * FPS)
    parts = [slice(start, start + width) for start in range(SEARCHED, len(clip.seen) - width - SEARCHED, width // 2)]
    return [part for part in parts if clip.seen[part].double().mean() > 0.9]


def best_likeness(sound: Tensor, clip: SyncClip, parts: Sequence[slice]) -> Tensor:
    """Likeness [N] of windows of a clip's mouth with curves [T, D] of a sound, repeated to the clip's length."""
    expert, count = load_sync_expert(), len(clip.expression)
    repeated = sound.repeat(-(-count // len(sound)), 1)[:count]
    curves = likeness_curves(repeated, expert.embed_mouth(clip.expression), clip.seen, expert.weight, parts)
    return find_peaks(curves)[1]


def measure(clips: Sequence[SyncClip], seconds: float, more: Sequence[Tensor] = ()) -> dict[str, float]:
    """Figures of all windows of a length; more: sounds [T, 168] of the encoder that nobody's lips are seen with."""
    expert = load_sync_expert()
    sounds = [expert.embed_sound(encoded) for encoded in (*(clip.encoded for clip in clips), *more)]
    near, first, missed, mistaken = [], [], [], []
    for index, clip in enumerate(clips):
        parts = windows_of(clip, seconds)
        if not parts:
            continue
        mouth, own = expert.embed_mouth(clip.expression), measure_encoded(clip.encoded, clip.expression, clip.seen)
        read = measure_embedded(expert, sounds[index], mouth, clip.seen, parts)
        near += [abs(one.offset - own.whole.offset) <= 1 / FPS for one in read]
        missed += [one.certainty < 0.5 for one in read]
        others = [sound for other, sound in enumerate(sounds) if other != index][:MOST_OTHERS]
        theirs = torch.stack([best_likeness(sound, clip, parts) for sound in others])
        first += (torch.tensor([one.likeness for one in read]) > theirs.amax(0)).tolist()
        terms = certainty_terms(theirs.flatten(), torch.tensor(seconds, dtype=theirs.dtype).expand(theirs.numel()))
        mistaken += ((terms @ expert.logistic).sigmoid() >= 0.5).tolist()
    columns = {
        "offset within a frame": near,
        "right sound first": first,
        "right called wrong": missed,
        "wrong called right": mistaken,
    }
    counts = {"windows": float(len(near)), "other sounds": float(min(MOST_OTHERS, len(sounds) - 1))}
    return counts | {name: sum(column) / len(column) for name, column in columns.items()}


def shift_error(folder: Path) -> list[float]:
    """Errors, s, of known shifts of a Take's sound; none where its beginning shows no lips that follow it."""
    take = open_take(folder)
    clip, sound = make_sync_clip(take), read_audio(take)[: round(SHIFTED_SECONDS * 16000)]
    count = min(len(clip.seen), round(SHIFTED_SECONDS * FPS))
    clip = replace(clip, expression=clip.expression[:count], seen=clip.seen[:count])

    def read(samples: Tensor) -> SyncReading:
        return measure_encoded(encode_sound(samples), clip.expression, clip.seen).whole

    still = read(sound)
    if not still.follows:
        return []
    return [abs(read(move_sound(sound, shift)).offset - still.offset - shift) for shift in SHIFTS]


def halves_apart(clip: SyncClip) -> float:
    """Seconds by which the offsets of a clip's halves differ."""
    expert, middle = load_sync_expert(), len(clip.seen) // 2
    sound, mouth = expert.embed_sound(clip.encoded), expert.embed_mouth(clip.expression)
    first, second = measure_embedded(expert, sound, mouth, clip.seen, [slice(0, middle), slice(middle, len(clip.seen))])
    return abs(first.offset - second.offset)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("takes", nargs="+", type=Path)
    parser.add_argument("--sounds", nargs="*", type=Path, default=[], help="speech of still others")
    options = parser.parse_args()
    more = [encode_sound(torch.cat(list(read_speech(find_speech(path))))) for path in options.sounds]
    clips = [shorten(make_sync_clip(open_take(folder))) for folder in options.takes]
    results: dict[str, object] = {"people": [clip.name for clip in clips]}
    for seconds in SECONDS:
        results[f"{seconds:g} s"] = figures = measure(clips, seconds, more)
        print(f"{seconds:g} s  " + "  ".join(f"{name} {value:.3f}" for name, value in figures.items()), flush=True)
    errors = torch.tensor([error for folder in options.takes[:MOST_OTHERS] for error in shift_error(folder)])
    apart = torch.tensor([halves_apart(clip) for clip in clips])
    results |= {"shift error, ms": 1000 * float(errors.mean()), "halves apart, ms": 1000 * float(apart.median())}
    print(f"known shift: error {results['shift error, ms']:.1f} ms; halves: {results['halves apart, ms']:.1f} ms apart")
    Path("bench/results/sync.json").write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
