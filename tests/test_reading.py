"""Words read off films by a program: how errors are counted, what the program gets, and what its failure says."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from avatar.core.files import UserError
from avatar.metrics.reading import LipReading, read_film, split_words, word_error_rate
from avatar.pipelines.evaluate_speech import compare_words


@pytest.mark.parametrize(
    ("read", "said", "rate"),
    [
        ("a b c", "a b c", 0.0),
        ("a c", "a b c", 1 / 3),
        ("a b b c", "a b c", 1 / 3),
        ("x y z w", "a b", 2.0),
        ("", "a", 1.0),
    ],
)
def test_errors_are_changes_of_words(read: str, said: str, rate: float) -> None:
    assert word_error_rate(split_words(read), split_words(said)) == pytest.approx(rate)


def test_punctuation_and_case_are_no_errors() -> None:
    assert split_words("Hello, World - it's me!") == ["hello", "world", "it's", "me"]
    with pytest.raises(ValueError, match="nothing is said"):
        word_error_rate(["a"], [])


def program(folder: Path, body: str) -> str:
    place = folder / "reader"
    place.write_text(f"#!{sys.executable}\nimport sys\nfrom pathlib import Path\nfilm = Path(sys.argv[1])\n{body}\n")
    place.chmod(0o755)
    return str(place)


def test_both_films_are_read(tmp_path: Path) -> None:
    """A reader of brightness: what it reads is what was drawn, so it was given the right films."""
    films = tuple([np.full((64, 64, 3), level, np.uint8)] * 10 for level in (200, 30))
    body = "print({'driven': 'one two three', 'real': 'one two four'}[film.stem], film.stat().st_size > 500 and 'five')"
    scores = {
        score.metric: score.value
        for score in compare_words(LipReading(program(tmp_path, body), "One two four five."), films, 25.0)
    }
    assert scores == {"error rate": 0.25, "error rate, real": 0.0, "error rate against the real film's": 0.25}


def test_failures_are_said_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no program"):
        read_film("no-such-reader", tmp_path / "x.mp4")
    with pytest.raises(UserError, match=r"failed with 3 \(no weights\)"):
        read_film(program(tmp_path, "sys.exit(print('no weights', file=sys.stderr) or 3)"), tmp_path / "x.mp4")
