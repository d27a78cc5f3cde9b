"""Progress bars; drawn on this floor only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

Report = Callable[[str, int, int], None]  # stage, done, total


@contextmanager
def stage_bars() -> Iterator[Report]:
    """A function that draws one bar a stage: call it with (stage, done, total)."""
    bars: dict[str, tqdm] = {}

    def report(stage: str, done: int, total: int) -> None:
        if stage not in bars:
            for bar in bars.values():
                bar.close()
            bars[stage] = tqdm(total=total or None, desc=f"{stage:<12}", unit="it", leave=True, mininterval=0.3)
        bar = bars[stage]
        bar.total = total or None
        bar.update(done - bar.n)

    try:
        yield report
    finally:
        for bar in bars.values():
            bar.close()


@contextmanager
def budget_bar(budget: float, unit: str) -> Iterator[Callable[[float, float], None]]:
    """A function that draws the share of a budget spent, the running loss, and how many steps it will be enough for.

    Call it with (share, loss) at each step.
    """
    average, steps = 0.0, 0
    with tqdm(total=round(budget), desc=f"{'train':<12}", unit=unit, leave=True, mininterval=0.5) as bar:

        def report(share: float, loss: float) -> None:
            nonlocal average, steps
            steps += 1
            average = 0.98 * average + 0.02 * loss if average else loss
            if (done := int(share * budget)) > bar.n:
                bar.set_postfix_str(f"loss {average:.4f}, about {round(steps / share)} steps in all", refresh=False)
                bar.update(done - bar.n)

        yield report
