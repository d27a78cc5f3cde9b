"""A corpus of synthesized speech whose phones are known: planned by a seed, made in shards, read back in order."""

from __future__ import annotations

import json
import multiprocessing
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from avatar.core.articulation import Phone
from avatar.core.files import UserError, whole
from avatar.core.progress import Progress, no_progress
from avatar.learn.room_acoustics import record
from avatar.learn.sentences import make_sentence, read_words, string_words
from avatar.learn.synthesizers import FLITE, VARIANTS, Manner, Utterance, synthesize

FORMAT = "speech-corpus/1"
SHARD = 50  # utterances
UNSEEN_LANGUAGES = ("fi", "tr", "cs")
UNSEEN_FLITE, UNSEEN_VARIANTS = ("awb",), ("+m7", "+belinda")
ENGLISH_SHARE = 0.4  # by flite, whose voices are recorded ones


@dataclass(frozen=True)
class Line:
    """Something to be said, and how."""

    text: str
    voice: str
    manner: Manner
    seed: int  # of room and line


def plan_line(seed: int, *, flite: bool = True) -> Line:
    """A line of the training corpus: 16 languages, all voices but those that are kept for testing."""
    draw = random.Random(seed)
    if draw.random() < ENGLISH_SHARE and flite:
        voice = draw.choice([name for name in FLITE if name not in UNSEEN_FLITE])
        return Line(make_sentence(draw), f"flite:{voice}", Manner(draw.uniform(0.74, 1.33)), seed)
    languages = [name for name in read_words() if name not in UNSEEN_LANGUAGES]
    variants = [name for name in VARIANTS if name not in UNSEEN_VARIANTS]
    return espeak_line(draw.choice(languages), draw.choice(variants), draw, seed)


def espeak_line(language: str, variant: str, draw: random.Random, seed: int) -> Line:
    """A line in a language, by a variant of espeak-ng's voice, at a drawn speed and pitch."""
    manner = Manner(draw.uniform(0.75, 1.3), draw.uniform(0.2, 0.8), draw.uniform(0.3, 0.9))
    return Line(string_words(language, draw), f"espeak:{language}{variant}", manner, seed)


def say(line: Line) -> Utterance:
    """The line, spoken and recorded."""
    said = synthesize(line.text, line.voice, line.manner)
    return Utterance(record(said.pcm, np.random.default_rng(line.seed)), said.phones, said.voice)


def make_corpus(
    folder: Path,
    count: int,
    *,
    seed: int,
    flite: bool = True,
    workers: int = 1,
    progress: Progress = no_progress,
) -> None:
    """Write `count` utterances in shards; shards that are there already are kept.

    Raises: UserError when a synthesizer is missing, or the folder holds another corpus.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plan = {"format": FORMAT, "seed": seed, "flite": flite}
    note = folder / "corpus.json"
    if note.exists() and json.loads(note.read_text()) != plan:
        raise UserError(f"{folder}: holds a corpus of another plan; choose another folder")
    with whole(note) as temporary:
        temporary.write_text(json.dumps(plan))
    starts = range(0, count, SHARD)
    missing = [start for start in starts if not _shard(folder, start).exists()]
    # a process a shard: what espeak-ng says depends on what it said before, and nothing sets that back
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
    plans = [plan_line(seed * 10_000_000 + index, flite=flite) for index in range(start, start + count)]
    said = [say(plan) for plan in plans]
    tensors = {f"{index:04d}": (one.pcm * 32767).round().short() for index, one in enumerate(said)}
    notes = [{"voice": one.voice, "phones": [list(asdict(phone).values()) for phone in one.phones]} for one in said]
    with whole(_shard(folder, start)) as temporary:
        save_file(tensors, temporary, {"utterances": json.dumps(notes)})  # one entry: several come in any order


def read_corpus(folder: Path, shards: Sequence[Path] | None = None) -> Iterator[Utterance]:
    """All utterances of a corpus, or of some of its shards. Raises: UserError when it holds none."""
    paths = shards if shards is not None else list_shards(folder)
    for path in paths:
        with safe_open(path, "pt") as file:
            for index, note in enumerate(json.loads(file.metadata()["utterances"])):
                pcm = file.get_tensor(f"{index:04d}").float() / 32767
                yield Utterance(pcm, [Phone(*phone) for phone in note["phones"]], note["voice"])


def list_shards(folder: Path) -> list[Path]:
    """Shards of a corpus in order. Raises: UserError when there is none."""
    paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        raise UserError(f"{folder}: holds no corpus; make one with `avatar a2m corpus -o {folder}`")
    return paths
