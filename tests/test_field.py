"""The ops of radiance fields on every device against their float64 references."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from conftest import Device
from scenes import leaves, relative, rng
from torch import Tensor

from cuda_ext import ops, reference_field
from cuda_ext.mlp import Precision


def tables(levels: int, entries: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    resolutions = torch.tensor([4 * 2**level for level in range(levels)], dtype=torch.int32)
    return torch.randn(levels, entries, 2, generator=rng(seed)), resolutions


@pytest.mark.parametrize("dimensions", [2, 3, 4])
@pytest.mark.parametrize("points", [0, 1, 700])
def test_hash_grid_and_its_gradients_agree_with_the_reference(device: Device, dimensions: int, points: int) -> None:
    table, resolutions = tables(5, 512)
    positions = 1.1 * torch.rand(points, dimensions, generator=rng(points)) - 0.05  # a few outside
    ours = leaves([positions, table], torch.float32, device.torch)
    truth = leaves([positions, table], torch.float64)
    out = ops.hash_grid(*ours, resolutions.to(device.torch))
    expected = reference_field.hash_grid(*truth, resolutions)
    assert out.shape == (points, 10)
    if points == 0:
        return
    assert relative(out, expected.detach()) < 1e-5
    weights = torch.randn(points, 10, generator=rng(1))
    (out * weights.to(device.torch)).sum().backward()
    (expected * weights).sum().backward()
    inside = ((positions > 0) & (positions < 1)).all(1)
    assert ours[0].grad is not None
    assert truth[0].grad is not None
    assert relative(ours[0].grad[inside.to(device.torch)], truth[0].grad[inside]) < 1e-3
    assert relative(ours[1].grad, truth[1].grad) < 1e-4


def check_hash_grid(positions: Tensor, table: Tensor, resolutions: Tensor, device: Device) -> None:
    """Values, and gradients of inner positions and tables, against the reference in float64."""
    ours = leaves([positions, table], torch.float32, device.torch)
    truth = leaves([positions, table], torch.float64)
    out, expected = ops.hash_grid(*ours, resolutions.to(device.torch)), reference_field.hash_grid(*truth, resolutions)
    assert relative(out, expected.detach()) < 1e-5
    weights = torch.randn(out.shape, generator=rng(1))
    weights[::3] = 0  # as behind what is opaque
    (out * weights.to(device.torch)).sum().backward()
    (expected * weights).sum().backward()
    inside = ((positions > 0) & (positions < 1)).all(1)
    assert ours[0].grad is not None
    assert truth[0].grad is not None
    difference = ours[0].grad.cpu()[inside] - truth[0].grad[inside]
    assert difference.norm() < 1e-3 * truth[0].grad[inside].norm() + 1e-3  # zero where a level has one entry
    assert relative(ours[1].grad, truth[1].grad) < 1e-4


@pytest.mark.parametrize("dimensions", [2, 3, 4])
def test_hash_grid_of_points_along_a_ray_agrees_with_the_reference(device: Device, dimensions: int) -> None:
    """Neighbours share cells of the coarse levels."""
    table, resolutions = tables(5, 512)
    along = torch.linspace(0.05, 0.95, 333)[:, None] ** torch.tensor([1.0, 0.3, 2.0, 0.7])[:dimensions]
    check_hash_grid(along, table, resolutions, device)


@pytest.mark.parametrize("entries", [4096, 8192])
def test_hash_grid_of_points_in_a_few_cells_agrees_with_the_reference(device: Device, entries: int) -> None:
    """With and without the copies that share the gradient of a small table."""
    table, resolutions = tables(6, entries)
    check_hash_grid(0.5 + 0.001 * torch.randn(500, 3, generator=rng(6)), table, resolutions, device)


@pytest.mark.parametrize("entries", [1, 2, 64, 8192])
@pytest.mark.parametrize("levels", [1, 3, 35])
def test_hash_grid_of_any_shape_agrees_with_the_reference(device: Device, entries: int, levels: int) -> None:
    resolutions = torch.arange(1, levels + 1, dtype=torch.int32)
    table, positions = torch.randn(levels, entries, 2, generator=rng(4)), torch.rand(90, 3, generator=rng(5))
    check_hash_grid(positions, table, resolutions, device)


def test_hash_grid_reads_tables_at_any_address(device: Device) -> None:
    """A GPU loads an entry's two numbers at once, which an address that is not a multiple of 8 bytes would not bear."""
    memory = torch.randn(2 * 3 * 64 + 1, generator=rng(4)).to(device.torch)
    positions, resolutions = torch.rand(90, 3, generator=rng(5)), torch.tensor([2, 5, 9], dtype=torch.int32)
    moved = memory[1:].view(3, 64, 2)
    assert moved.data_ptr() % 8 != 0
    out = ops.hash_grid(positions.to(device.torch), moved, resolutions.to(device.torch))
    assert relative(out, reference_field.hash_grid(positions.double(), moved.cpu().double(), resolutions)) < 1e-5


LAYERS = [[3, 2], [32, 64, 64, 4], [5, 17, 3], [64, 128, 16, 16, 1], [7, 9, 9, 9, 9, 9, 2]]


@pytest.mark.parametrize("widths", LAYERS)
@pytest.mark.parametrize("samples", [0, 1, 65, 1500])
@pytest.mark.parametrize("precision", ["tf32", "float32"])
def test_mlp_and_its_gradients_agree_with_the_reference(
    device: Device, widths: list[int], samples: int, precision: Precision
) -> None:
    before = torch.backends.cuda.matmul.allow_tf32
    ours, truth, out, expected = run_mlp(device, widths, samples, precision, reference_field.mlp)
    # On a GPU tf32 keeps 10 bits of what it multiplies.
    rounding = 2**-10 * len(widths) if device.name == "cuda" and precision == "tf32" else 1e-5
    assert relative(out, expected.detach()) < rounding
    for mine, exact in zip(ours, truth, strict=True):
        assert relative(mine.grad, exact.grad) < max(1e-3, 20 * rounding)
    assert torch.backends.cuda.matmul.allow_tf32 == before


def bfloat16_mlp(inputs: Tensor, weights: Tensor, widths: list[int]) -> Tensor:
    """The reference with inputs, weights and hidden values rounded to bfloat16; gradients pass through the rounding."""

    def rounded(values: Tensor) -> Tensor:
        return values + (values.detach().bfloat16().double() - values.detach())

    values, weights, at = rounded(inputs), rounded(weights), 0
    for layer, (columns, rows) in enumerate(itertools.pairwise(widths)):
        values = values @ weights[at : at + rows * columns].view(rows, columns).T
        at += rows * columns
        if layer + 2 < len(widths):
            values = rounded(values.relu())
    return values


@pytest.mark.parametrize("widths", LAYERS)
@pytest.mark.parametrize("samples", [0, 1, 65, 1500])
def test_mlp_in_bfloat16_errs_by_its_rounding_alone(device: Device, widths: list[int], samples: int) -> None:
    """Of 8 bits, so by 2^-9 at most each time: two numbers a product, and the gradient once a layer on the way back."""
    if device.name == "cpu":
        pytest.skip("the CPU computes in float32")
    ours, truth, out, expected = run_mlp(device, widths, samples, "bfloat16", bfloat16_mlp)
    assert relative(out, expected.detach()) < 1e-3  # the same roundings
    exact = reference_field.mlp(*(leaf.detach() for leaf in truth), widths)
    assert relative(out, exact) < 2**-8 * (len(widths) - 1)
    for mine, rounded in zip(ours, truth, strict=True):
        assert mine.grad is not None
        assert mine.grad.dtype == torch.float32
        assert relative(mine.grad, rounded.grad) < 2**-9 * len(widths)


Mlp = Callable[[Tensor, Tensor, list[int]], Tensor]


def run_mlp(
    device: Device, widths: list[int], samples: int, precision: Precision, reference: Mlp
) -> tuple[list[Tensor], list[Tensor], Tensor, Tensor]:
    """Our leaves and those of a reference after a backward pass, with what both gave."""
    g = rng(samples)
    count = sum(a * b for a, b in itertools.pairwise(widths))
    tensors = [torch.randn(samples, widths[0], generator=g), 0.3 * torch.randn(count, generator=g)]
    ours, truth = leaves(tensors, torch.float32, device.torch), leaves(tensors, torch.float64)
    out, expected = ops.mlp(*ours, widths, precision), reference(*truth, widths)
    weights = torch.randn(samples, widths[-1], generator=g)
    (out * weights.to(device.torch)).sum().backward()
    (expected * weights).sum().backward()
    return ours, truth, out, expected


def test_mlp_gives_only_the_gradients_that_are_wanted(device: Device) -> None:
    inputs, weights = torch.randn(9, 5, generator=rng(0)), torch.randn(5 * 8 + 8 * 2, generator=rng(1))
    for inputs_wanted, weights_wanted in ((True, False), (False, True)):
        one = inputs.to(device.torch).requires_grad_(inputs_wanted)
        other = weights.to(device.torch).requires_grad_(weights_wanted)
        ops.mlp(one, other, [5, 8, 2]).sum().backward()
        assert (one.grad is not None, other.grad is not None) == (inputs_wanted, weights_wanted)
        inputs, weights = inputs.detach(), weights.detach()


def rays(count: int) -> tuple[Tensor, Tensor]:
    """Most of them through the cube, some past it, some along an axis."""
    g = rng(count)
    origins = torch.tensor([0.5, 0.5, -1.0]) + 0.3 * torch.randn(count, 3, generator=g)
    directions = torch.tensor([0.0, 0, 1]) + 0.2 * torch.randn(count, 3, generator=g)
    directions[::5] = torch.tensor([0.0, 0, 1])
    return origins, directions


@pytest.mark.parametrize("count", [0, 1, 200])
@pytest.mark.parametrize("jittered", [False, True])
@pytest.mark.parametrize("filled", [0.0, 0.1, 1.0])
def test_march_finds_the_samples_that_looking_everywhere_finds(
    device: Device, count: int, jittered: bool, filled: float
) -> None:
    origins, directions = rays(count)
    occupancy = (torch.rand(16, 16, 16, generator=rng(2)) < filled).to(torch.uint8)
    jitter = torch.rand(count, generator=rng(3)) if jittered else None
    there = [tensor.to(device.torch) for tensor in (origins, directions, occupancy)]
    moved = None if jitter is None else jitter.to(device.torch)
    found = ops.march(*there, depths=torch.tensor([0.2, 3.0], device=device.torch), step=0.013, jitter=moved)
    positions, distances, counts = reference_field.march(
        origins, directions, occupancy, near=0.2, far=3.0, step=0.013, jitter=jitter
    )
    # A sample on the wall between two cells may be seen in either.
    assert int((found.counts.cpu() - counts).abs().sum()) <= 2 + 0.001 * len(positions)
    assert torch.equal(found.starts.cpu(), found.counts.cpu().cumsum(0) - found.counts.cpu())
    if torch.equal(found.counts.cpu().long(), counts):
        assert torch.allclose(found.positions.cpu(), positions, atol=1e-5)
        assert torch.allclose(found.distances.cpu(), distances, atol=1e-5)


def test_march_fills_a_room_with_the_samples_that_fit(device: Device) -> None:
    """All of them, and nothing behind; or the first of each ray, as many as all rays have room for."""
    origins, directions = rays(200)
    occupancy = (torch.rand(16, 16, 16, generator=rng(2)) < 0.5).to(torch.uint8)
    there = [tensor.to(device.torch) for tensor in (origins, directions, occupancy)]
    limits = {"depths": torch.tensor([0.2, 3.0], device=device.torch), "step": 0.02}
    found = ops.march(*there, **limits)
    total, counts = len(found.distances), found.counts
    large, small = ops.Room(total + 77, device.torch), ops.Room(total // 3, device.torch)
    whole, part = ops.march(*there, **limits, room=large), ops.march(*there, **limits, room=small)
    for ours, all_of_them in zip(whole, found, strict=True):
        assert torch.equal(ours[: len(all_of_them)], all_of_them)
    assert max(float(values[total:].abs().max()) for values in (whole.positions, whole.distances, whole.rays)) == 0
    assert int(large.needed) == int(small.needed) == total
    most = int(part.counts.max())
    assert torch.equal(part.counts, counts.clamp_max(most))
    assert int(part.counts.sum()) <= small.size < int(counts.clamp_max(most + 1).sum())
    kept = torch.arange(total, device=device.torch) - found.starts.repeat_interleave(counts) < most
    assert torch.equal(part.positions[: int(part.counts.sum())], found.positions[kept])
    with pytest.raises(ValueError, match=r"room 199; expected .* a sample of each of 200 rays"):
        ops.march(*there, **limits, room=ops.Room(199, device.torch))


@pytest.mark.parametrize("channels", [1, 3, 16])
@pytest.mark.parametrize("count", [0, 1, 90])
def test_composite_and_its_gradients_agree_with_the_reference(device: Device, channels: int, count: int) -> None:
    g = rng(count)
    counts = torch.randint(0, 40, (count,), generator=g, dtype=torch.int32)
    starts = counts.cumsum(0).long() - counts
    total = int(counts.sum())
    sigmas, colors = 20 * torch.rand(total, generator=g), torch.rand(total, channels, generator=g)
    lengths = 0.05 * torch.rand(total, generator=g)
    ours = leaves([sigmas, colors], torch.float32, device.torch)
    truth = leaves([sigmas, colors], torch.float64)
    packed = [tensor.to(device.torch) for tensor in (starts, counts)]
    color, alpha = ops.composite(*ours, lengths.to(device.torch), *packed)
    expected, covered = reference_field.composite(*truth, lengths.double(), starts, counts)
    assert torch.allclose(color.double().cpu(), expected, atol=3e-4)
    assert torch.allclose(alpha.double().cpu(), covered, atol=3e-4)
    if total == 0:
        return
    weights = torch.randn(count, channels, generator=g)
    ((color * weights.to(device.torch)).sum() + alpha.sum()).backward()
    ((expected * weights).sum() + covered.sum()).backward()
    for mine, exact in zip(ours, truth, strict=True):
        assert relative(mine.grad, exact.grad) < 3e-3


def test_any_number_of_threads_gives_the_same_bits() -> None:
    table, resolutions = tables(8, 2048)
    weights = torch.randn(16 * 32 + 32 * 4, generator=rng(1))
    results = []
    for threads in (1, 2, 3):
        ops.set_threads(threads)
        ours = leaves([torch.rand(9000, 3, generator=rng(2)), table, weights], torch.float32)
        out = ops.mlp(ops.hash_grid(*ours[:2], resolutions), ours[2], [16, 32, 4])
        out.square().sum().backward()
        results.append([out.detach(), *(leaf.grad for leaf in ours)])
    ops.set_threads(0)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True) if a is not None and b is not None)


def test_bad_arguments_are_named() -> None:
    table, resolutions = tables(2, 16)
    positions = torch.rand(3, 3)
    with pytest.raises(ValueError, match="has 15 entries a level, expected a power of two"):
        ops.hash_grid(positions, table[:, :15], resolutions)
    with pytest.raises(ValueError, match="has 5 dimensions"):
        ops.hash_grid(torch.rand(3, 5), table, resolutions)
    with pytest.raises(ValueError, match=r"resolutions has 0 to 0"):
        ops.hash_grid(positions, table, torch.zeros(2, dtype=torch.int32))
    with pytest.raises(ValueError, match=r"hash_grid\.positions has a value that is not finite"):
        ops.hash_grid(positions / 0, table, resolutions)
    with pytest.raises(TypeError, match=r"hash_grid\.resolutions is torch\.int64"):
        ops.hash_grid(positions, table, resolutions.long())
    with pytest.raises(ValueError, match=r"mlp\.widths is \[3, 129\]"):
        ops.mlp(positions, torch.rand(387), [3, 129])
    with pytest.raises(ValueError, match=r"mlp\.precision is 'half', expected one of bfloat16, tf32, float32"):
        ops.mlp(positions, torch.rand(6), [3, 2], "half")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"mlp\.weights is \[5\]"):
        ops.mlp(positions, torch.rand(5), [3, 2])
    grid = torch.ones(4, 4, 4, dtype=torch.uint8)
    with pytest.raises(ValueError, match="expected 0 <= near < far"):
        ops.march(positions, positions, grid, depths=torch.tensor([1.0, 0.5]), step=0.1)
    starts, counts = torch.tensor([0, 2]), torch.tensor([2, 2], dtype=torch.int32)
    with pytest.raises(ValueError, match="leave the 3 samples"):
        ops.composite(torch.rand(3), torch.rand(3, 3), torch.rand(3), starts, counts)
    with pytest.raises(ValueError, match="has 17 channels"):
        ops.composite(torch.rand(3), torch.rand(3, 17), torch.rand(3), starts[:1], counts[:1])
