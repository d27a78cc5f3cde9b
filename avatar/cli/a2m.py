"""Training of the audio-to-motion encoder: `avatar a2m`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avatar.cli.options import Seed
from avatar.core.files import UserError
from cuda_ext.limits import core_count

app = typer.Typer(help="Train the speech-to-motion encoder that ships with the package.", no_args_is_help=True)

Start = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Encoder of `pretrain` to begin with. [default: the packaged one]")
]


@app.command("corpus")
def a2m_corpus(
    out: Annotated[Path, typer.Option("-o", "--out", metavar="CORPUS", help="Folder to make, or to go on with.")],
    count: Annotated[int, typer.Option(min=100, help="Utterances, of three seconds each on the average.")] = 4000,
    seed: Seed = 0,
    flite: Annotated[bool, typer.Option(help="Recorded English voices beside espeak-ng's.")] = True,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes. [default: one a core]")] = None,
) -> None:
    """Synthesize speech with phone times in 16 languages (needs flite and espeak-ng)."""
    from avatar.cli.bars import progress_bars
    from avatar.learn.corpus import make_corpus

    with progress_bars() as progress:
        make_corpus(out, count, seed=seed, flite=flite, workers=workers or core_count(), progress=progress)


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
    from avatar.cli.bars import progress_bars
    from avatar.learn.pretrain import pretrain

    with progress_bars() as progress:
        scores = pretrain(corpus, out, steps=steps, seed=seed, features=features, progress=progress)
    print(f"{out}: correlation on held-out utterances: " + ", ".join(f"{k} {v}" for k, v in scores.items()))


@app.command("samples")
def a2m_samples(
    corpus: Annotated[Path, typer.Argument(metavar="CORPUS", help="Made by `avatar a2m corpus`.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Asset file to write.")],
) -> None:
    """Write the synthetic samples of a corpus that every adaptation uses beside the person's own clip."""
    from avatar.pipelines.speech_encoder import write_synthetic_samples

    print(f"{out}: {write_synthetic_samples(corpus, out)} utterances")


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
    """Fine-tune an encoder on real lips; clips that cannot be used are left out and listed."""
    from avatar.cli.bars import progress_bars
    from avatar.pipelines.speech_encoder import finetune_on_takes, preprocess_corpus

    if (folder is None) == (corpus is None):
        raise UserError("give a folder of Takes, or --corpus DIR with a folder of clips")
    with progress_bars() as progress:
        takes, unusable = preprocess_corpus(corpus, progress=progress) if corpus else (folder, [])
        people = finetune_on_takes(takes or Path(), out, start=encoder, seed=seed, progress=progress)
    for line in unusable:
        print(f"left out  {line}")
    print(f"{out}: fine-tuned on {people} takes")


@app.command("check")
def a2m_check(
    folder: Annotated[Path, typer.Argument(metavar="TAKES", help="Folder of Takes of many people.")],
    folds: Annotated[int, typer.Option(min=2, help="Groups of people, each left out once.")] = 5,
    encoder: Start = None,
    seed: Seed = 0,
) -> None:
    """Cross-validation: how well an encoder fine-tuned on everybody else predicts each person's lips."""
    from avatar.cli.bars import progress_bars
    from avatar.pipelines.speech_encoder import cross_validate

    with progress_bars() as progress:
        rows = list(cross_validate(folder, folds=folds, start=encoder, seed=seed, progress=progress))
    print("\n".join(rows))
