"""Picture metrics: known values, and better from worse."""

from __future__ import annotations

import pytest
import torch

from avatar.metrics import METRICS, correlation, psnr, region_masks
from tests.trained import random


@pytest.mark.parametrize("name", sorted(METRICS))
def test_metrics_know_better_from_worse(name: str) -> None:
    metric = METRICS[name]
    truth = torch.randint(0, 255, (64, 64, 3), dtype=torch.uint8, generator=random(0))
    noise = torch.randint(-20, 20, truth.shape, generator=random(1))
    near, far = (((truth + k * noise).clamp(0, 255)).to(torch.uint8) for k in (1, 3))
    values = [metric.measure(picture, truth, None) for picture in (truth, near, far)]
    assert sorted(values, reverse=metric.better == "higher") == values
    assert len(set(values)) == 3


def test_known_metric_values() -> None:
    black, grey = torch.zeros(16, 16, 3, dtype=torch.uint8), torch.full((16, 16, 3), 16, dtype=torch.uint8)
    assert psnr(grey, black) == pytest.approx(24.05, abs=0.01)
    assert correlation(torch.arange(9.0), -torch.arange(9.0)) == pytest.approx(-1)
    assert region_masks(torch.rand(478, 3) * 16, 16)["whole"] is None
