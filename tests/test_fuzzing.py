"""A slice of `make fuzz`: damaged files are read or refused in a line, within bounds of time and memory."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import Adapted, Filmed, made_once
from tests.fuzzing import KINDS, make_originals, watch
from tests.mutations import damage_text, damage_tree, put_together, take_apart, to_text

FILES = 10 * len(KINDS)


@pytest.fixture(scope="module")
def originals(actor: Filmed, adapted: Adapted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "originals", lambda folder: make_originals(folder, actor.take, adapted))


def test_damaged_files_are_read_or_refused_in_a_line(originals: Path) -> None:
    outcomes = watch(originals, 0, FILES, seed=11)
    assert [one.index for one in outcomes] == list(range(FILES))
    assert not [one for one in outcomes if one.bad]
    ends = Counter((one.kind, one.end) for one in outcomes)
    for kind in set(KINDS):
        assert ends[kind, "refused"], kind  # damage is seen
    assert sum(count for (_, end), count in ends.items() if end == "read") > FILES / 20  # and is not always at the door


def test_damage_is_the_same_for_a_seed() -> None:
    def made(seed: int) -> list[object]:
        rng = random.Random(seed)
        tree = damage_tree({"a": [1, {"b": "c"}], "d": 2.5}, rng)
        return [to_text(tree, rng), damage_text("a: 1\nb: [2, 3]\n", rng)]

    assert [made(seed) for seed in range(50)] == [made(seed) for seed in range(50)]
    assert len({str(made(seed)) for seed in range(50)}) > 30


def test_files_are_put_together_as_they_were(originals: Path) -> None:
    metadata, pieces = take_apart((originals / "gaussian.avatar").read_bytes())
    again = take_apart(put_together(metadata, pieces))
    assert again == (metadata, pieces)
