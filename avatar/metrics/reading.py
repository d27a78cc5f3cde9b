"""Words read off a film's lips by a program of the user's, such as one that runs AV-HuBERT or TalkLip's reader."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avatar.core.files import UserError

TIMEOUT = 1800.0  # s for a film: recognizers on a processor are slow


@dataclass(frozen=True)
class LipReading:
    """Who reads, and what is said if that is known."""

    program: str  # called as PROGRAM FILM.mp4; writes what it reads to stdout
    words: str = ""  # what is said


def find_program(program: str) -> str:
    """The path of a program. Raises: UserError when there is none that can be run."""
    found = shutil.which(program)
    if found is None:
        raise UserError(f"reader: '{program}' is no program that can be run; give its path, and chmod +x it")
    return found


def read_film(program: str, film: Path) -> str:
    """What a program reads off a silent film of a face. Raises: UserError when it cannot be run or fails."""
    found = find_program(program)
    try:
        done = subprocess.run([found, str(film)], capture_output=True, timeout=TIMEOUT, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{found}: did not answer within {TIMEOUT:g} s") from error
    except OSError as error:
        raise UserError(f"{found}: cannot be run ({error.strerror or error})") from error
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise UserError(f"{found}: failed with {done.returncode} ({lines[-1][:160] if lines else 'no reason'})")
    return done.stdout.decode("utf-8", "replace")


def split_words(text: str) -> list[str]:
    """Words of a text in lower case, without punctuation."""
    return re.findall(r"[\w']+", text.lower())


def word_error_rate(read: Sequence[str], said: Sequence[str]) -> float:
    """Words to be changed, put in or left out, as a share of what is said (Levenshtein 1966).

    Raises: ValueError when nothing is said.
    """
    if not said:
        raise ValueError("word_error_rate: nothing is said")
    row = list(range(len(said) + 1))
    for count, word in enumerate(read, 1):
        before, row[0] = row[0], count
        for index, other in enumerate(said, 1):
            before, row[index] = row[index], min(row[index] + 1, row[index - 1] + 1, before + (word != other))
    return row[-1] / len(said)
