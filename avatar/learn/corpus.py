"""A corpus of synthesized speech with phone times: planned from a seed, synthesized in shards, read in order."""

from __future__ import annotations

import json
import multiprocessing
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from avatar.core.articulation import Phone
from avatar.core.files import UserError, read_safetensors, whole
from avatar.core.progress import Progress, no_progress
from avatar.learn.room_acoustics import simulate_recording
from avatar.learn.sentences import random_sentence, random_words, read_words
from avatar.learn.synthesizers import ESPEAK_VARIANTS, FLITE_VOICES, Utterance, VoiceSettings, synthesize

FORMAT = "speech-corpus/1"
SHARD = 50  # utterances: a few seconds of synthesis, which a stopped run loses at most
HELD_OUT_LANGUAGES = ("fi", "tr", "cs")
HELD_OUT_FLITE, HELD_OUT_VARIANTS = ("awb",), ("+m7", "+belinda")
"""Never trained on: what `bench.bench_speech` tests with."""
FLITE_SHARE = 0.4  # flite's voices, English only, were recorded from people, and count more than espeak-ng's


@dataclass(frozen=True)
class UtterancePlan:
    """A text, and how it is synthesized."""

    text: str
    voice: str  # as `synthesize` takes it
    settings: VoiceSettings
    seed: int  # of the recording conditions


def plan_utterance(seed: int, *, flite: bool = True) -> UtterancePlan:
    """An utterance of the training corpus: 16 languages, all voices but those held out."""
    rng = random.Random(seed)
    if rng.random() < FLITE_SHARE and flite:
        voice = rng.choice([name for name in FLITE_VOICES if name not in HELD_OUT_FLITE])
        return UtterancePlan(random_sentence(rng), f"flite:{voice}", VoiceSettings(rng.uniform(0.74, 1.33)), seed)
    languages = [name for name in read_words() if name not in HELD_OUT_LANGUAGES]
    variants = [name for name in ESPEAK_VARIANTS if name not in HELD_OUT_VARIANTS]
    return plan_espeak(rng.choice(languages), rng.choice(variants), rng, seed)


def plan_espeak(language: str, variant: str, rng: random.Random, seed: int) -> UtterancePlan:
    """An utterance in a language by a variant of espeak-ng's voice, at a random rate and pitch."""
    settings = VoiceSettings(rng.uniform(0.75, 1.3), rng.uniform(0.2, 0.8), rng.uniform(0.3, 0.9))
    return UtterancePlan(random_words(language, rng), f"espeak:{language}{variant}", settings, seed)


def make_utterance(plan: UtterancePlan) -> Utterance:
    """Synthesize a plan, under simulated recording conditions."""
    clean = synthesize(plan.text, plan.voice, plan.settings)
    return replace(clean, pcm=simulate_recording(clean.pcm, np.random.default_rng(plan.seed)))


def make_corpus(
    folder: Path,
    count: int,
    *,
    seed: int,
    flite: bool = True,
    workers: int = 1,
    progress: Progress = no_progress,
) -> None:
    """Write `count` utterances in shards to a folder; shards that are there already are kept.

    Raises: UserError when a synthesizer is missing, or the folder holds another corpus.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plan = {"format": FORMAT, "seed": seed, "flite": flite}
    note = folder / "corpus.json"
    if note.exists() and json.loads(note.read_text()) != plan:
        raise UserError(f"{folder}: holds a corpus of another seed or other voices; choose another folder")
    with whole(note) as temporary:
        temporary.write_text(json.dumps(plan))
    starts = range(0, count, SHARD)
    missing = [start for start in starts if not _shard(folder, start).exists()]
    # a process a shard: what espeak-ng synthesizes depends on what it did before, and nothing resets that
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, max_tasks_per_child=1) as pool:
        jobs = [pool.submit(_write_shard, folder, start, min(SHARD, count - start), seed, flite) for start in missing]
        try:
            for done, job in enumerate(jobs, start=len(starts) - len(missing) + 1):
                job.result()
                progress("corpus", done, len(starts))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _shard(folder: Path, start: int) -> Path:
    return folder / f"{start:07d}.safetensors"


def _write_shard(folder: Path, start: int, count: int, seed: int, flite: bool) -> None:
    torch.set_num_threads(1)
    plans = [plan_utterance(seed * 10_000_000 + index, flite=flite) for index in range(start, start + count)]
    made = [make_utterance(plan) for plan in plans]
    tensors = {f"{index:04d}": (one.pcm * 32767).round().short() for index, one in enumerate(made)}
    notes = [{"voice": one.voice, "phones": [list(asdict(phone).values()) for phone in one.phones]} for one in made]
    with whole(_shard(folder, start)) as temporary:
        save_file(tensors, temporary, {"utterances": json.dumps(notes)})  # one entry: several come in any order


def read_corpus(folder: Path, shards: Sequence[Path] | None = None) -> Iterator[Utterance]:
    """All utterances of a corpus, or of some of its shards. Raises: UserError when it holds none."""
    paths = shards if shards is not None else list_shards(folder)
    for path in paths:
        tensors, metadata = read_safetensors(path)
        for index, note in enumerate(json.loads(metadata["utterances"])):
            pcm = tensors[f"{index:04d}"].float() / 32767
            yield Utterance(pcm, [Phone(*phone) for phone in note["phones"]], note["voice"])


def list_shards(folder: Path) -> list[Path]:
    """Files of a corpus, in order. Raises: UserError when there is none."""
    paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        raise UserError(f"{folder}: holds no corpus; make one with `avatar a2m corpus -o {folder}`")
    return paths
