"""Every op on every device against its float64 reference: values and gradients."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import Device
from scenes import grouped, leaves, pose, relative, rng, scene

from cuda_ext import native, ops, reference, splat

FORWARD, GRADIENT = 1e-5, 1e-4  # the CPU and the emulation
GPU_FORWARD, GPU_GRADIENT = 1e-4, 1e-3  # short division and exponentials


def limits(device: Device) -> tuple[float, float]:
    return (GPU_FORWARD, GPU_GRADIENT) if device.name == "cuda" else (FORWARD, GRADIENT)


@pytest.mark.parametrize(("count", "size"), [(0, 16), (1, 1), (1, 17), (40, 37), (500, 50)])
def test_splat_and_its_gradients_agree_with_the_reference(device: Device, count: int, size: int) -> None:
    tensors = scene(count)
    ours, truth = leaves(tensors, torch.float32, device.torch), leaves(tensors, torch.float64)
    weights = torch.randn(4, size, size, generator=rng(1))
    image = torch.cat(ops.splat(*ours, focal=1.8 * size, size=size))
    expected = torch.cat(reference.splat(*truth, focal=1.8 * size, size=size))
    forward, gradient = limits(device)
    assert (image.cpu() - expected).abs().max() < forward
    if count == 0:
        return
    (image * weights.to(device.torch)).sum().backward()
    (expected * weights).sum().backward()
    for mine, exact in zip(ours, truth, strict=True):
        assert relative(mine.grad, exact.grad) < gradient


def test_splat_early_stop_changes_less_than_the_stop(device: Device) -> None:
    tensors = scene(800, spread=1.5)
    tensors[3] += 4
    rgb, _ = ops.splat(*(tensor.to(device.torch) for tensor in tensors), focal=60.0, size=32)
    expected, _ = reference.splat(*(t.double() for t in tensors), focal=60.0, size=32)
    assert (rgb.cpu() - expected).abs().max() < 3e-4


def test_gradients_with_an_early_stop_are_those_of_the_drawn_splats(device: Device) -> None:
    tensors = scene(400, spread=1.0)
    tensors[3] += 4
    ours, truth = leaves(tensors, torch.float32, device.torch), leaves(tensors, torch.float64)
    ops.splat(*ours, focal=60.0, size=24)[0].sum().backward()
    reference.splat(*truth, focal=60.0, size=24)[0].sum().backward()
    for mine, exact in zip(ours, truth, strict=True):
        assert relative(mine.grad, exact.grad) < 3e-3


def test_splats_behind_the_camera_are_not_drawn_and_get_no_gradient(device: Device) -> None:
    tensors = scene(14)
    tensors[0][:, 2] = 0.5
    ours = leaves(tensors, torch.float32, device.torch)
    rgb, alpha = ops.splat(*ours, focal=100.0, size=33)
    (rgb.sum() + alpha.sum()).backward()
    assert rgb.abs().max() == 0
    assert all(float(leaf.grad.abs().max()) == 0 for leaf in ours if leaf.grad is not None)


def test_splats_off_the_screen_are_not_drawn(device: Device) -> None:
    tensors = scene(50)
    tensors[0][:, 0] += 500
    rgb, alpha = ops.splat(*(tensor.to(device.torch) for tensor in tensors), focal=100.0, size=40)
    assert rgb.abs().max() == 0
    assert alpha.abs().max() == 0


@pytest.mark.parametrize(("low", "high"), [(-20.0, -20.0), (-20.0, 1.0), (3.0, 3.0), (-3.0, 4.0)])
def test_degenerate_scales_agree_with_the_reference(device: Device, low: float, high: float) -> None:
    """Points, needles, and splats larger than the picture."""
    tensors = scene(60)
    tensors[2] = torch.where(torch.rand(60, 3, generator=rng(5)) < 0.5, low, high)
    ours, truth = leaves(tensors, torch.float32, device.torch), leaves(tensors, torch.float64)
    image = torch.cat(ops.splat(*ours, focal=50.0, size=33))
    expected = torch.cat(reference.splat(*truth, focal=50.0, size=33))
    # Where alpha nearly equals the cut, the last bit decides: a few pixels may differ by it.
    difference = (image.cpu() - expected).abs()
    assert float((difference > 1e-4).double().mean()) < 2e-3
    assert difference.max() < 6e-3
    image.sum().backward()
    expected.sum().backward()
    for mine, exact in zip(ours, truth, strict=True):
        assert mine.grad is not None
        assert exact.grad is not None
        assert torch.isfinite(mine.grad).all()
        # A ball does not care how it is turned: that gradient is nothing but rounding.
        assert (mine.grad.cpu() - exact.grad).norm() < 2e-2 * exact.grad.norm() + 1e-4


def test_many_splats_agree_with_the_cpu(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    count, size = (3000, 32) if device.slow else (200_000, 256)
    tensors = scene(count, spread=6.0)
    tensors[3] -= 4  # thin, so that lists stay long: past what is sorted in shared memory
    weights = torch.randn(4, size, size, generator=rng(1))
    ours = leaves(tensors, torch.float32, device.torch)
    image = torch.cat(ops.splat(*ours, focal=1.8 * size, size=size))
    (image * weights.to(device.torch)).sum().backward()
    monkeypatch.undo()
    truth = leaves(tensors, torch.float32)
    expected = torch.cat(ops.splat(*truth, focal=1.8 * size, size=size))
    (expected * weights).sum().backward()
    assert float((image.detach().cpu() - expected.detach()).abs().mean()) < 1e-5
    for mine, exact in zip(ours, truth, strict=True):
        assert relative(mine.grad, exact.grad) < 1e-2


def test_too_many_pairs_are_drawn_again_with_room_for_them(device: Device) -> None:
    tensors = scene(40)
    tensors[2] += 4  # everybody covers everything: 40 x 100 pairs
    ours, truth = leaves(tensors, torch.float32, device.torch), leaves(tensors, torch.float64)
    size = 160
    call = splat.plan(*(leaf[None] for leaf in ours), focal=200.0, size=size)
    if native.stream(device.torch) is not None:
        pictures = call.pictures()
        space = splat.draw_into(call, *pictures, pairs=100, training=False)
        assert int(space.needed) > 100
        assert max(float(picture.abs().max()) for picture in pictures) == 0
        space = splat._draw_gpu(call, *pictures, training=False, pairs=100)
        assert int(space.needed) <= space.pairs
        image = torch.cat([picture[0] for picture in pictures])
    else:
        image = torch.cat(ops.splat(*ours, focal=200.0, size=size))
    expected = torch.cat(reference.splat(*truth, focal=200.0, size=size))
    assert (image.detach().cpu() - expected).abs().max() < 3e-4


@pytest.mark.parametrize("count", [2, 31, 200, 300, 700, 1500, 2500])
def test_lists_of_any_length_are_drawn_in_order_of_depth(
    device: Device, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One tile, whose list a warp sorts, or a block, or memory; the splats differ in colour, so the order is seen."""
    g = rng(count)
    means = torch.cat([torch.randn(count, 2, generator=g), 40 + 20 * torch.rand(count, 1, generator=g)], 1)
    scales, faint = torch.full((count, 3), 1.0), torch.full((count,), -5.0)
    tensors = [means, torch.randn(count, 4, generator=g), scales, faint, torch.rand(count, 3, generator=g)]
    rgb, _ = ops.splat(*(tensor.to(device.torch) for tensor in tensors), focal=40.0, size=16)
    monkeypatch.undo()
    expected, _ = ops.splat(*tensors, focal=40.0, size=16)
    assert (rgb.cpu() - expected).abs().max() < 2e-5
    unordered = [tensors[0] * torch.tensor([1, 1, -1]) + torch.tensor([0.0, 0, 100]), *tensors[1:]]
    assert (ops.splat(*unordered, focal=40.0, size=16)[0] - expected).abs().max() > 1e-3


@pytest.mark.parametrize("size", [34, 64])
@pytest.mark.parametrize("nv12", [False, True])
def test_bytes_drawn_at_once_are_those_of_the_floats(device: Device, size: int, nv12: bool) -> None:
    """Two frames, each over a background of its own, with needles and splats larger than a tile among them."""
    if native.stream(device.torch) is None:
        pytest.skip("the CPU draws floats")
    tensors = [torch.stack(pair).to(device.torch) for pair in zip(scene(300), scene(300, seed=1), strict=True)]
    tensors[2][:, ::3, 0] += 3
    tensors[2][:, ::5, 1] -= 3
    background = torch.randint(0, 256, (2, size, size, 3), generator=rng(3), dtype=torch.uint8).to(device.torch)
    call = splat.plan(*tensors, focal=1.8 * size, size=size)
    shape = (2, 3 * size // 2, size) if nv12 else (2, size, size, 3)
    drawn = torch.zeros(shape, dtype=torch.uint8, device=device.torch)
    space = splat.draw_bytes_into(call, background, drawn, pairs=20_000)
    assert int(space.needed.max()) <= space.pairs
    pictures = ops.splat(*tensors, focal=1.8 * size, size=size)
    expected = (ops.to_nv12 if nv12 else ops.to_bytes)(*pictures, background)
    difference = (drawn.int() - expected.int()).abs()
    assert int(difference.max()) <= (0 if device.slow else 1)
    assert float((difference > 0).float().mean()) < 1e-3
    apart = [(ops.to_nv12 if nv12 else ops.to_bytes)(*(p[i] for p in pictures), background[i]) for i in range(2)]
    assert torch.equal(expected, torch.stack(apart))


def test_equal_depths_keep_their_order(device: Device) -> None:
    means = torch.tensor([[0.0, 0, 50]]).repeat(2, 1)
    colors = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])
    tensors = [means, torch.tensor([[1.0, 0, 0, 0]]).repeat(2, 1), torch.zeros(2, 3), torch.ones(2) * 4, colors]
    rgb, _ = ops.splat(*(tensor.to(device.torch) for tensor in tensors), focal=200.0, size=31)
    assert rgb[0, 15, 15] > 0.9
    assert rgb[1, 15, 15] < 0.1


def test_screen_gradient_is_the_length_of_the_screen_position_gradient(device: Device) -> None:
    tensors = scene(30)
    tensors[0][:, 2] = tensors[0][:, 2].abs() + 20
    focal, size = 90.0, 48
    # With log-scales this small only the 0.3 px low-pass is left: the mean acts through its screen position alone.
    small = [*tensors[:2], torch.full((30, 3), -12.0), *tensors[3:]]
    ours, screen = leaves(small, torch.float32, device.torch), torch.zeros(30, device=device.torch)
    rgb, _ = ops.splat(*ours, focal=focal, size=size, screen_gradient=screen)
    rgb.square().sum().backward()
    assert ours[0].grad is not None
    expected = ours[0].grad.cpu()[:, :2].norm(dim=1) * small[0][:, 2] / focal
    assert torch.allclose(screen.cpu(), expected, rtol=1e-3, atol=1e-5)


def test_a_batch_is_its_frames(device: Device) -> None:
    """Blendshapes, placing, splatting and bytes of three frames at once, with gradients, against one at a time."""
    count, size, g = 60, 34, rng(4)
    tensors = [torch.randn(10 * count, generator=g), 0.1 * torch.randn(5, 10 * count, generator=g)]
    coefficients = torch.randn(3, 5, generator=g)
    poses = [pose(count, seed) for seed in range(3)]
    rotation, translation = torch.stack([p[3] for p in poses]), torch.stack([p[4] for p in poses])
    torso = torch.tensor([[0.0, 0, 0, 0], [4.0, 2, 0.1, 0.1], [-3.0, 1, 0, -0.2]])
    fixed = [tensor.to(device.torch) for tensor in (poses[0][1], poses[0][2], poses[0][5], poses[0][6])]
    (quaternions, rigidity), rest = fixed[:2], ops.RigidTransform(*fixed[2:])
    background = torch.randint(0, 256, (size, size, 3), generator=g, dtype=torch.uint8).to(device.torch)

    def draw(base, deltas, c, r, t, torso):  # type: ignore[no-untyped-def]
        values = ops.deform(base, deltas, c)
        means, scales, opacity, colors = (
            part.unflatten(-1, (count, -1)) for part in values.split([3 * count, 3 * count, count, 3 * count], -1)
        )
        placed, turned = ops.place(means, quaternions, rigidity, (r, t), rest, torso, focal=50.0)
        rgb, alpha = ops.splat(placed, turned, scales, opacity.squeeze(-1), colors, focal=50.0, size=size)
        bytes_of = [f(rgb.detach(), alpha.detach(), background) for f in (ops.to_bytes, ops.to_nv12)]
        return rgb, alpha, *bytes_of

    together = leaves([*tensors, coefficients, rotation, translation], torch.float32, device.torch)
    apart = leaves([*tensors, coefficients, rotation, translation], torch.float32, device.torch)
    torso = torso.to(device.torch)
    batch = draw(*together, torso)
    singles = [draw(*apart[:2], *(x[i] for x in apart[2:]), torso[i]) for i in range(3)]
    for index, picture in enumerate(batch):
        assert torch.equal(picture, torch.stack([single[index] for single in singles]))
    (batch[0].square().sum() + batch[1].sum()).backward()
    sum((single[0].square().sum() + single[1].sum()) for single in singles).backward()
    for one, other in zip(together, apart, strict=True):
        assert relative(one.grad, other.grad) < 1e-4


@pytest.mark.parametrize("ssim_weight", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("size", [1, 5, 37, 130])
@pytest.mark.parametrize("cached", [False, True])
def test_photo_error_and_its_gradient_agree_with_the_reference(
    device: Device, size: int, ssim_weight: float, cached: bool
) -> None:
    g = rng(size)
    image, target = torch.rand(3, size, size, generator=g), torch.rand(3, size, size, generator=g)
    weight = torch.rand(1, size, size, generator=g)
    (ours,), (truth,) = leaves([image], torch.float32, device.torch), leaves([image], torch.float64)
    there = target.to(device.torch)
    moments = ops.photo_moments(there) if cached else None
    error = ops.photo_error(ours, there, weight.to(device.torch), ssim_weight=ssim_weight, moments=moments)
    expected = reference.photo_error(truth, target.double(), weight.double(), ssim_weight=ssim_weight)
    assert error.item() == pytest.approx(expected.item(), rel=limits(device)[0], abs=1e-7)
    (3 * error).backward()
    (3 * expected).backward()
    assert relative(ours.grad, truth.grad) < limits(device)[0]


def test_photo_error_of_equal_pictures_and_of_no_weight_is_zero(device: Device) -> None:
    picture = torch.rand(3, 40, 40, generator=rng()).to(device.torch)
    one = torch.ones(1, 40, 40, device=device.torch)
    assert float(ops.photo_error(picture, picture, one)) == pytest.approx(0, abs=1e-6)
    image = picture.clone().requires_grad_()
    error = ops.photo_error(image, 1 - picture, 0 * one)
    error.backward()
    assert error.item() == 0
    assert image.grad is not None
    assert float(image.grad.abs().max()) == 0


@pytest.mark.parametrize("size", [1, 5, 37, 130])
def test_compose_and_its_gradients_agree_with_the_reference(device: Device, size: int) -> None:
    g = rng(size)
    rgb, alpha, plate = (torch.rand(channels, size, size, generator=g) for channels in (3, 1, 3))
    picture = torch.randint(0, 256, (4, size, size), dtype=torch.uint8, generator=g)
    blobs, weights = torch.rand(3, 2, size, generator=g), torch.rand(3, generator=g)
    known = torch.tensor([[0.1, -0.2, 0.05, 1.0], [0, 0, 0, 0], [0.3, 0.1, -0.1, 1.0]])
    exposure = torch.cat([known, known.sum(0, keepdim=True)])
    ours, truth = leaves([rgb, alpha], torch.float32, device.torch), leaves([rgb, alpha], torch.float64)
    fixed = [tensor.to(device.torch) for tensor in (plate, picture, blobs, weights, exposure)]
    for frame, gain in ((2, (known[2, :3] - exposure[3, :3] / 2).exp()), (1, torch.ones(3))):
        out = ops.compose(*ours, *fixed, torch.tensor([frame], device=device.torch))
        expected = reference.compose(*truth, *(t.double() for t in (plate, picture, blobs, weights, gain)))
        for one, other in zip(out, expected, strict=True):
            assert relative(one, other) < limits(device)[0]
        mixed = torch.rand(3, size, size, generator=g)
        ((out.image * mixed.to(device.torch)).sum() + 0.3 * out.matte_error).backward()
        ((expected[0] * mixed.double()).sum() + 0.3 * expected[1]).backward()
    for one, other in zip(ours, truth, strict=True):
        assert relative(one.grad, other.grad) < limits(device)[0]


def test_an_exposure_moves_towards_the_best_gain(device: Device) -> None:
    exposure = torch.zeros(4, 4, device=device.torch)
    sums = torch.tensor([8.0, 10, 20, 10, 10, 10, 0], dtype=torch.float64, device=device.torch)
    one, first = torch.ones(1, device=device.torch), torch.tensor([1], device=device.torch)
    for fitted, values in ((0 * one, sums), (one, sums * torch.nan)):
        ops.update_exposure_(exposure, first, values, fitted, rate=0.5, most=0.3)
        assert float(exposure.abs().max()) == 0
    for _ in range(2):
        ops.update_exposure_(exposure, first, sums, one, rate=0.5, most=0.3)
    expected = 0.75 * torch.tensor([math.log(0.8), 0, 0.3])
    assert torch.allclose(exposure[1].cpu(), torch.cat([expected, torch.ones(1)]), atol=1e-6)
    assert torch.allclose(exposure[3], exposure[1], atol=1e-6)
    assert float(exposure[[0, 2]].abs().max()) == 0


@pytest.mark.parametrize(("rows", "columns"), [(0, 5), (1, 1), (3, 65), (32, 10007), (300, 70), (5, 0)])
def test_deform_and_its_gradients_agree_with_the_reference(device: Device, rows: int, columns: int) -> None:
    g = rng(rows)
    tensors = [torch.randn(*shape, generator=g) for shape in ((columns,), (rows, columns), (rows,))]
    ours, truth = leaves(tensors, torch.float32, device.torch), leaves(tensors, torch.float64)
    weights = torch.randn(columns, generator=g)
    out, expected = ops.deform(*ours), reference.deform(*truth)
    assert torch.allclose(out.double().cpu(), expected, rtol=1e-5, atol=1e-4)
    (out * weights.to(device.torch)).sum().backward()
    (expected * weights).sum().backward()
    for mine, exact in zip(ours, truth, strict=True):
        assert relative(mine.grad, exact.grad) < 1e-5


@pytest.mark.parametrize("columns", [1, 63, 9000])
@pytest.mark.parametrize("one_rate", [True, False])
def test_deform_adam_follows_adam(device: Device, columns: int, one_rate: bool) -> None:
    g = rng(columns)
    truth = [torch.randn(4, columns, generator=g).double(), *(torch.zeros(4, columns).double() for _ in range(2))]
    ours = [tensor.float().to(device.torch) for tensor in truth]
    rates = torch.rand(columns, generator=g) * 0.01
    for step in range(1, 6):
        inputs = [torch.randn(columns, generator=g), torch.randn(4, generator=g)]
        there = [tensor.to(device.torch) for tensor in inputs]
        ops.deform_adam_(*ours, *there, ops.AdamStep(step, 0.01 if one_rate else rates.to(device.torch)))
        exact = [tensor.double() for tensor in inputs]
        reference.deform_adam_(*truth, *exact, ops.AdamStep(step, 0.01 if one_rate else rates.double()))
    for mine, true in zip(ours, truth, strict=True):
        assert torch.allclose(mine.double().cpu(), true, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("columns", [1, 64, 1000, 9001])
def test_int8_blendshapes_are_near_and_equal_their_reference(device: Device, columns: int) -> None:
    g = rng(columns)
    deltas, base, coefficients = (torch.randn(*s, generator=g) for s in ((8, columns), (columns,), (8,)))
    deltas[3] = 0
    codes, scales = ops.quantize(deltas)
    assert codes.dtype == torch.int8
    assert scales.shape == (8, -(-columns // 64))
    step = scales.repeat_interleave(64, 1)[:, :columns]
    assert ((ops.dequantize(codes, scales) - deltas).abs() <= 0.501 * step).all()
    out = ops.deform_int8(*(tensor.to(device.torch) for tensor in (base, codes, scales, coefficients)))
    expected = reference.deform_int8(base.double(), codes, scales.double(), coefficients.double())
    assert torch.allclose(out.double().cpu(), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("size", [1, 15, 64, 129])
def test_to_bytes_equals_the_reference(device: Device, size: int) -> None:
    g = rng(size)
    rgb, alpha = 1.4 * torch.rand(3, size, size, generator=g) - 0.2, torch.rand(1, size, size, generator=g)
    background = torch.randint(0, 256, (size, size, 3), generator=g, dtype=torch.uint8)
    there = [tensor.to(device.torch) for tensor in (rgb, alpha, background)]
    difference = ops.to_bytes(*there).int().cpu() - reference.to_bytes(rgb, alpha, background).int()
    assert int(difference.abs().max()) <= 1  # a half may round to either side
    assert float((difference != 0).float().mean()) <= 1e-3
    assert torch.equal(ops.to_bytes(0 * there[0], 0 * there[1], there[2]).cpu(), background)


@pytest.mark.parametrize("size", [2, 34, 130])
def test_to_nv12_equals_the_reference(device: Device, size: int) -> None:
    g = rng(size)
    rgb, alpha = 1.4 * torch.rand(3, size, size, generator=g) - 0.2, torch.rand(1, size, size, generator=g)
    background = torch.randint(0, 256, (size, size, 3), generator=g, dtype=torch.uint8)
    there = [tensor.to(device.torch) for tensor in (rgb, alpha, background)]
    ours, expected = ops.to_nv12(*there).int().cpu(), reference.to_nv12(rgb, alpha, background).int()
    assert ours.shape == (3 * size // 2, size)
    assert int((ours - expected).abs().max()) <= 1
    assert float((ours != expected).float().mean()) <= 2e-3


@pytest.mark.parametrize("count", [1, 7, 3001])
@pytest.mark.parametrize("seed", range(8))  # the quaternion of a rotation has four branches
def test_place_and_its_gradients_agree_with_the_reference(device: Device, count: int, seed: int) -> None:
    tensors = pose(count, seed)
    ours, truth = leaves(tensors, torch.float32, device.torch), leaves(tensors, torch.float64)
    weights = torch.randn(count, 7, generator=rng(seed))
    out = torch.cat(ops.place(*grouped(ours), focal=700.0), 1)
    expected = torch.cat(reference.place(*grouped(truth), focal=700.0), 1)
    assert torch.allclose(out.double().cpu(), expected, rtol=1e-5, atol=1e-4)
    (out * weights.to(device.torch)).sum().backward()
    (expected * weights).sum().backward()
    for mine, exact in list(zip(ours, truth, strict=True))[:5]:
        assert relative(mine.grad, exact.grad) < limits(device)[1]


def test_place_of_no_splats(device: Device) -> None:
    tensors = [tensor.to(device.torch) for tensor in pose(0, 0)]
    means, quaternions = ops.place(*grouped(tensors), focal=700.0)
    assert means.shape == (0, 3)
    assert quaternions.shape == (0, 4)


def test_a_graph_draws_what_the_ops_draw(device: Device) -> None:
    if native.stream(device.torch) is None:
        pytest.skip("graphs are the GPU's")
    count, rows, size, g = 400, 6, 64, rng(3)
    base = torch.cat(
        [5 * torch.randn(3 * count, generator=g), torch.zeros(3 * count), torch.rand(4 * count, generator=g)]
    )
    codes, scales = ops.quantize(0.1 * torch.randn(rows, 10 * count, generator=g))
    poses = [pose(count, seed) for seed in range(2)]
    splats = (poses[0][1], poses[0][2], poses[0][5], poses[0][6])
    shapes = ops.SplatBlendshapes(base, codes, scales, *splats, 120.0, size).to(device.torch)
    background = torch.randint(0, 256, (size, size, 3), generator=g, dtype=torch.uint8).to(device.torch)
    graph = ops.FrameGraph(shapes, 2, background)
    for seed in range(3):
        rotation, translation = (torch.stack([p[i] for p in poses]) for i in (3, 4))
        coefficients = torch.randn(2, rows, generator=rng(seed))
        now = ops.Pose(*(t.to(device.torch) for t in (coefficients, rotation, translation, torch.zeros(2, 4))))
        picture = graph(now).clone()
        expected = ops.to_nv12(*ops.draw_frames(shapes, now), background)
        difference = (picture.int() - expected.int()).abs()
        assert int(difference.max()) <= (0 if device.slow else 1)
        assert float((difference > 0).float().mean()) < 1e-3
