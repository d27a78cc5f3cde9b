"""Training of what hears: `avatar a2m`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from avatar.cli.options import Seed
from avatar.core.files import UserError

app = typer.Typer(help="Train the speech-to-motion encoder that ships with the package.", no_args_is_help=True)

Start = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Encoder of `pretrain` to begin with; the packaged one unless said.")
]


@app.command("corpus")
def a2m_corpus(
    out: Annotated[Path, typer.Option("-o", "--out", metavar="CORPUS", help="Folder to make, or to go on with.")],
    count: Annotated[int, typer.Option(min=100, help="Utterances, of three seconds each on the average.")] = 4000,
    seed: Seed = 0,
    flite: Annotated[bool, typer.Option(help="Recorded English voices beside espeak-ng's.")] = True,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; one a core unless said.")] = None,
) -> None:
    """Synthesize speech with phone times in 16 languages (needs flite and espeak-ng)."""
    from avatar.motion.corpus import make_corpus
    from avatar.pipelines.bars import stage_bars

    with stage_bars() as report:
        make_corpus(out, count, seed=seed, flite=flite, workers=workers or os.cpu_count() or 1, report=report)


@app.command("pretrain")
def a2m_pretrain(
    corpus: Annotated[Path, typer.Argument(metavar="CORPUS", help="Made by `avatar a2m corpus`.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Weights file to write.")],
    steps: Annotated[int, typer.Option(min=1, help="Training steps.")] = 2000,
    features: Annotated[
        str, typer.Option(help="whisper, or hubert:FOLDER with your own HuBERT or wav2vec 2.0 model.")
    ] = "whisper",
    seed: Seed = 0,
) -> None:
    """Train the phonetic encoder; resumes, and runs on several processes under torchrun."""
    from avatar.motion.train import pretrain
    from avatar.pipelines.bars import stage_bars

    with stage_bars() as report:
        scores = pretrain(corpus, out, steps=steps, seed=seed, features=features, report=report)
    print(f"{out}: correlation on held-out utterances: " + ", ".join(f"{k} {v}" for k, v in scores.items()))


@app.command("practice")
def a2m_practice(
    corpus: Annotated[Path, typer.Argument(metavar="CORPUS", help="Made by `avatar a2m corpus`.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Asset file to write.")],
) -> None:
    """Take the synthesized speech out of a corpus that every person practises with."""
    from avatar.pipelines.a2m import make_practice

    print(f"{out}: {make_practice(corpus, out)} utterances")


@app.command("train")
def a2m_train(
    out: Annotated[Path, typer.Option("-o", "--out", help="Weights file to write.")],
    folder: Annotated[Path | None, typer.Argument(metavar="TAKES", help="Folder of Takes.")] = None,
    corpus: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of clips instead: each becomes a Take first.")
    ] = None,
    encoder: Start = None,
    seed: Seed = 0,
) -> None:
    """Teach an encoder by the lips of real people; clips that cannot be used are left out and listed."""
    from avatar.pipelines.a2m import take_in, train_on_takes

    if (folder is None) == (corpus is None):
        raise UserError("give a folder of Takes, or --corpus DIR with a folder of clips")
    taken, left_out = take_in(corpus) if corpus else (folder, [])
    for line in left_out:
        print(f"left out  {line}")
    people = train_on_takes(taken or Path(), out, start=encoder, seed=seed)
    print(f"{out}: taught by {people} takes")


@app.command("check")
def a2m_check(
    folder: Annotated[Path, typer.Argument(metavar="TAKES", help="Folder of Takes of many people.")],
    folds: Annotated[int, typer.Option(min=2, help="Groups of people, each left out once.")] = 5,
    encoder: Start = None,
    seed: Seed = 0,
) -> None:
    """How well an encoder taught by everybody else reads each person's lips from their voice."""
    from avatar.pipelines.a2m import check_on_takes

    for row in check_on_takes(folder, folds=folds, start=encoder, seed=seed):
        print(row)
