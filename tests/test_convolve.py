"""Convolutions of a few rows against their float64 reference."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from scenes import rng
from torch import Tensor

from cuda_ext import ops, reference
from cuda_ext.reference import Convolution

ROUNDED = 2**-8  # of a number in bfloat16, relative


def rounded(values: Tensor) -> Tensor:
    """Values that bfloat16 holds, so that products are exact on every processor."""
    return values.to(torch.bfloat16).float()


def layer(inputs: int, out: int, taps: int, **beside: object) -> Convolution:
    weight = torch.randn(out, inputs, taps, generator=rng(1)) / (inputs * taps) ** 0.5
    return Convolution(rounded(weight), torch.randn(out, generator=rng(2)), **beside)  # type: ignore[arg-type]


def exact(inputs: Tensor, one: Convolution, left: int, right: int, added: Tensor | None = None) -> Tensor:
    normalized = one.normalized and tuple(part.double() for part in one.normalized)
    double = replace(one, weight=one.weight.double(), bias=one.bias.double(), normalized=normalized)
    return reference.convolve(inputs.double(), double, left, right, None if added is None else added.double())


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize(
    ("batch", "rows", "inputs", "out", "taps", "dilation", "stride", "left", "right"),
    [
        (1, 12, 384, 96, 1, 1, 1, 0, 0),
        (2, 9, 37, 45, 3, 2, 1, 2, 1),
        (1, 10, 16, 5, 3, 1, 2, 1, 1),
        (3, 50, 5, 33, 5, 1, 1, 0, 2),
        (2, 1, 1, 1, 1, 1, 1, 0, 0),
        (2, 3, 4, 4, 5, 1, 1, 0, 0),  # fewer rows than taps: no output
        (1, 0, 4, 4, 1, 1, 1, 0, 0),
    ],
)
def test_convolutions_agree_with_the_reference(
    precision: torch.dtype, batch: int, rows: int, inputs: int, out: int, taps: int, dilation: int, stride: int,
    left: int, right: int,
) -> None:  # fmt: skip
    one = layer(inputs, out, taps, dilation=dilation, stride=stride)
    values = rounded(torch.randn(batch, rows, inputs, generator=rng(0)))
    packed = ops.pack_convolution(one, precision)
    result = ops.convolve(values, packed, left=left, right=right)
    expected = exact(values, one, left, right)
    assert result.shape == expected.shape
    assert torch.allclose(result.double(), expected, atol=1e-5)
    added = torch.randn(result.shape, generator=rng(3))
    both = ops.convolve(values, packed, left=left, right=right, added=added)
    assert torch.allclose(both.double(), expected + added, atol=1e-5)


def test_normalized_rows_and_gelu_agree_with_the_reference() -> None:
    scale, shift = 0.5 + torch.rand(70, generator=rng(4)), torch.randn(70, generator=rng(5))
    one = layer(70, 40, 3, normalized=(scale, shift), gelu=True)
    values = 3 + torch.randn(2, 20, 70, generator=rng(0))
    result = ops.convolve(values, ops.pack_convolution(one), left=1, right=1)
    expected = exact(values, one, 1, 1)
    assert (result - expected).abs().max() < 3 * ROUNDED * expected.abs().max(), "inputs may be rounded, not more"
    straight = Convolution(torch.eye(64)[..., None], torch.zeros(64), gelu=True)
    values = rounded(torch.linspace(-12, 12, 64 * 30).view(1, 30, 64))
    result = ops.convolve(values, ops.pack_convolution(straight))
    assert torch.allclose(result.double(), torch.nn.functional.gelu(values.double()), atol=2e-6)


def test_an_output_does_not_depend_on_its_neighbours() -> None:
    packed = ops.pack_convolution(layer(48, 64, 3, gelu=True))
    values = torch.randn(7, 31, 48, generator=rng(0))
    together = ops.convolve(values, packed, left=1, right=1)
    for index in range(7):
        assert torch.equal(ops.convolve(values[index : index + 1], packed, left=1, right=1)[0], together[index])
    assert torch.equal(ops.convolve(values[:, 10:14], packed), together[:, 11:13])


def test_wrong_arguments_are_named() -> None:
    one = layer(4, 3, 1)
    with pytest.raises(ValueError, match=r"pack_convolution\.bias is \[2\], expected \[O\] with O = 3"):
        ops.pack_convolution(replace(one, bias=one.bias[:2]))
    with pytest.raises(ValueError, match=r"pack_convolution\.precision is torch\.float16"):
        ops.pack_convolution(one, torch.float16)
    with pytest.raises(ValueError, match="dilation 0 and stride 1 must be 1 or more"):
        ops.pack_convolution(replace(one, dilation=0))
    packed = ops.pack_convolution(one)
    with pytest.raises(ValueError, match=r"convolve\.inputs is \[1, 2, 5\]"):
        ops.convolve(torch.zeros(1, 2, 5), packed)
    with pytest.raises(ValueError, match=r"convolve\.added is \[1, 3, 3\]"):
        ops.convolve(torch.zeros(1, 2, 4), packed, added=torch.zeros(1, 3, 3))
    with pytest.raises(ValueError, match="-1 and 0 rows of zeros"):
        ops.convolve(torch.zeros(1, 2, 4), packed, left=-1)
