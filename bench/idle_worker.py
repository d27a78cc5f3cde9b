"""A worker of the batch engine whose jobs cost nothing: python -m bench.idle_worker. For measuring all the rest."""

from __future__ import annotations

from pathlib import Path

from avatar.batch.work import Made, Task
from avatar.batch.worker import serve


def touch(task: Task) -> Made:
    """Leave an empty file where the film would be."""
    film = Path(task.job.outputs["output"])
    film.parent.mkdir(exist_ok=True)
    film.touch()
    return Made()


if __name__ == "__main__":
    serve(touch)
