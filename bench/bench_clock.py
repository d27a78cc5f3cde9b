"""Whether a film is in time whatever its speech came in: python -m bench.bench_clock NAME.avatar ODD=CLEAN...

ODD: a file whose time stamps, tracks or length are unusual; CLEAN: a plain file of the same speech. The avatar says
both, its head held still. How much later the lips of one film are, by the correlation of their opening as a tracker
reads it, is compared with how much later its sound is, by the correlation of samples at their time stamps.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from scipy.signal import correlate, correlation_lags, detrend, resample_poly

from avatar.core.controls import Controls
from avatar.core.lips import lip_curves
from avatar.core.media_command import ffmpeg_binary
from avatar.core.media_samples import SAMPLE_RATE
from avatar.core.take import read_track
from avatar.pipelines.speak import speak
from avatar.pipelines.takes import make_take
from preprocess.request import TakeRequest
from preprocess.run import FPS

MOST_SECONDS = 1.5  # that the films' speech may be apart
FINE = 40  # steps a frame, that lips are compared in: a millisecond
STILL = Controls(pose="still", blink=0.0)

Array = np.ndarray


def film(avatar: Path, speech: Path) -> tuple[Array, Array]:
    """The opening of the lips at 25 frames/s, and the sound, of a film of a speech."""
    with tempfile.TemporaryDirectory() as name:
        out, take = Path(name) / "film.mp4", Path(name) / "film.take"
        speak(avatar, speech, out, controls=STILL, device="cpu")
        lips = lip_curves(read_track(make_take(out, take, TakeRequest(size=256))).landmarks)
        return detrend(lips[:, 0].double().numpy()), read_sound(out)


def read_sound(path: Path) -> Array:
    """Samples at 16 kHz where their time stamps have them, from 0 on; silence where there are none."""
    there = ("-af", "aresample=async=1:first_pts=0", "-ac", "1", "-ar", str(SAMPLE_RATE), "-f", "f32le", "-")
    command = [ffmpeg_binary(), "-v", "error", "-i", str(path), *there]
    return np.frombuffer(subprocess.run(command, check=True, capture_output=True).stdout, np.float32)


def delay(first: Array, second: Array, rate: float) -> tuple[float, float]:
    """Seconds by which the second is later, and the correlation there, of the part that both have."""
    lags = correlation_lags(len(second), len(first))
    near = np.abs(lags) <= MOST_SECONDS * rate
    products = correlate(second, first)
    lag = int(lags[near][products[near].argmax()])
    early, late = first[max(0, -lag) :], second[max(0, lag) :]
    shared = min(len(early), len(late))
    return lag / rate, float(np.corrcoef(early[:shared], late[:shared])[0, 1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("avatar", type=Path)
    parser.add_argument("pairs", nargs="+", metavar="ODD=CLEAN")
    options = parser.parse_args()
    film_clean = cache(lambda speech: film(options.avatar, speech))  # often the same for several
    for pair in options.pairs:
        odd, clean = map(Path, pair.split("="))
        (lips, sound), (clean_lips, clean_sound) = film(options.avatar, odd), film_clean(clean)
        lips_later, alike = delay(resample_poly(clean_lips, FINE, 1), resample_poly(lips, FINE, 1), FPS * FINE)
        sound_later, _ = delay(clean_sound, sound, SAMPLE_RATE)
        apart = 1000 * (lips_later - sound_later)
        print(f"{odd.name}: lips {apart:+.0f} ms after the sound, correlation {alike:.2f}", flush=True)


if __name__ == "__main__":
    main()
