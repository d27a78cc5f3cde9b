"""Lips against the phones that a voice gives, by language.

    python -m bench.bench_words NAME.avatar... --voice-files kokoro-js-1.2.1.tgz [--latency]

Kokoro says a few sentences in each language. Lips by the sound alone, by the sound with closures by phones (what
ships), and by phones alone are compared with the phones' articulation: how often lips are shut at p, b and m (opening
under 15 % of the person's range within 60 ms), and the correlation of the opening. With --latency also how long it
takes from a text to the first drawn frame of `Player.say`, voice and avatar open. Writes bench/results/words.json.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avatar.core.articulation import articulate
from avatar.core.avatar_file import Avatar, load_avatar
from avatar.core.controls import Controls
from avatar.core.lips import read_lips
from avatar.core.motion_space import concatenate, load_space
from avatar.metrics import correlation
from avatar.motion.driver import Driver, drive
from avatar.motion.speech_to_motion import SpeechToMotion, open_speech_model
from avatar.play.player import Player, start_driver
from avatar.play.words import VoiceReader
from avatar.voice.engines import VoiceChoice, open_voice, speak
from avatar.voice.passages import Chunk

NEAR, CLOSED = 0.06, 0.15  # s about a bilabial, share of the person's range of lip opening
TEXTS = {
    "en-us": "My mother bought a big bag of apples. Maybe Bob and Pam will bring the map.",
    "en-gb": "Please bring my umbrella back before the party. People may be happy about it.",
    "es": "Mi hermana compró pan y mantequilla. Pablo bebe un poco de agua por la mañana.",
    "fr": "Ma mère prépare un bon repas pour Paul. Il me semble que la pluie va bientôt tomber.",
    "hi": "मेरा भाई बाज़ार में बहुत काम करता है। आप मेरे परिवार से कब मिलेंगे?",
    "it": "Mia mamma prepara sempre un buon piatto di pasta. Il bambino beve molta acqua.",
    "pt-br": "Minha mãe comprou pão e manteiga. O menino bebe um copo de água pela manhã.",
    "zh": "我的妈妈买了很多苹果。明天我们不去北京，朋友们都不明白。",
    "ja": "私の母はパンとりんごを買いました。みんなでまた海を見に行きましょう。",
}
WAYS = ("sound", "both", "phones")


def lips_of(driver: Driver, chunk: Chunk, way: str) -> Tensor:
    """Lip curves [T, 4] of a chunk."""
    sound = VoiceReader().read(chunk)
    if way != "sound":
        driver.follow(chunk.phones, alone=way == "phones")
    motion = concatenate(list(drive(driver, [torch.zeros_like(sound) if way == "phones" else sound])))
    return motion.expression @ read_lips(load_space().basis)


def measure(avatar: Avatar, speech: SpeechToMotion, chunks: list[Chunk], way: str) -> tuple[float, float]:
    """Closure recall and correlation of the opening with what phones ask for."""
    reading = read_lips(load_space().basis)[:, 0]
    own = avatar.style.own.expression @ reading
    low, high = own.quantile(0.01), own.quantile(0.99)
    shut, curves, targets = [], [], []
    for chunk in chunks:
        controls = Controls(blink=0.0, temperature=0.0)
        lips = lips_of(start_driver(avatar, speech, controls), chunk, way)
        for phone in chunk.phones:
            if phone.symbol in ("p", "b", "m"):
                near = lips[max(0, int((phone.start - NEAR) * 25)) : int((phone.stop + NEAR) * 25) + 1, 0]
                shut.append(bool(near.min() < low + CLOSED * (high - low)))
        curves.append(lips[:, 0])
        targets.append(articulate(list(chunk.phones), fps=25, seconds=len(lips) / 25)[:, 0])
    return float(np.mean(shut)), float(correlation(torch.cat(curves), torch.cat(targets)))


def measure_latency(player: Player, choice: VoiceChoice, text: str) -> float:
    """Seconds from a text to its first frame, the third time."""
    voice = open_voice(choice)
    for _ in range(3):
        begun = time.perf_counter()
        next(player.say(text, voice=voice))
        took = time.perf_counter() - begun
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("avatars", nargs="+", type=Path)
    parser.add_argument("--voice-files", type=Path, required=True, help="kokoro-js as .tgz")
    parser.add_argument("--languages", default=",".join(TEXTS))
    parser.add_argument("--latency", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    people = [(file.stem, avatar := load_avatar(file), open_speech_model(avatar.speech)) for file in options.avatars]
    rows = []
    for language in options.languages.split(","):
        voice = open_voice(VoiceChoice("kokoro", language, files=options.voice_files))
        chunks = [chunk for chunk in speak(TEXTS[language], voice) if chunk.spoken]
        for name, avatar, speech in people:
            found = {way: measure(avatar, speech, chunks, way) for way in WAYS}
            rows.append({"language": language, "avatar": name, **found})
            print(f"{language:<7}{name[:20]:<22}" + "  ".join(f"{w} {a:.2f} / {b:.2f}" for w, (a, b) in found.items()))
    for way in WAYS:
        recall, opening = np.mean([row[way] for row in rows], 0)
        print(f"{way:<8} closures {recall:.3f}, opening {opening:.3f}")
    latency = {}
    if options.latency:
        player = Player(options.avatars[0], mark="none", device="cpu")
        text = "Well, thank you for asking that, it is a very good question. I will try to answer it."
        for choice in (VoiceChoice(), VoiceChoice("kokoro", files=options.voice_files)):
            latency[choice.voice] = measure_latency(player, choice, text)
        print(f"text to first frame, s: {latency}")
    Path("bench/results/words.json").write_text(json.dumps({"rows": rows, "latency": latency}, indent=1))


if __name__ == "__main__":
    main()
