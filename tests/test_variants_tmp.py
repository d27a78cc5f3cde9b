import pytest
import torch
from scenes import rng
from test_field import check_hash_grid, tables

from cuda_ext import field


@pytest.mark.parametrize("forward", [0, 1, 2, 3, 4, 8, 9, 10, 11, 12, 16, 18, 20, 24, 25, 26, 28, 32, 48])
@pytest.mark.parametrize("backward", [0, 2, 4, 16, 18, 20, 32, 34, 36, 64, 80, 96])
def test_variant(device, monkeypatch, forward, backward):
    if device.name == "cpu" or (forward and backward):
        pytest.skip()
    monkeypatch.setattr(field, "FORWARD_VARIANT", forward)
    monkeypatch.setattr(field, "BACKWARD_VARIANT", backward)
    f = 1e-3 if forward & 16 else 1e-5
    table, resolutions = tables(5, 512)
    for d in (2, 3, 4):
        check_hash_grid(1.1 * torch.rand(700, d, generator=rng(0)) - 0.05, table, resolutions, device, f)
        along = torch.linspace(0.05, 0.95, 333)[:, None] ** torch.tensor([1.0, 0.3, 2.0, 0.7])[:d]
        check_hash_grid(along, table, resolutions, device, f)
