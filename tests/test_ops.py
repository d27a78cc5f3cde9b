"""Native ops against their float64 references: values, gradients, threads, instruction sets, errors."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from cuda_ext import ops, reference
from cuda_ext.shapes import check_shapes

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _all_threads() -> Iterator[None]:
    yield
    ops.set_threads(0)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scene(count: int, *, seed: int = 0, spread: float = 12.0) -> list[Tensor]:
    """Splats before a camera, some behind it, some outside of the picture."""
    g = rng(seed)
    depth = 55 + 20 * torch.rand(count, 1, generator=g)
    depth[6::7] = -1.0
    means = torch.cat([spread * torch.randn(count, 2, generator=g), depth], 1)
    scales = 0.5 * torch.randn(count, 3, generator=g) - 0.4
    quaternions = 3 * torch.randn(count, 4, generator=g)
    return [means, quaternions, scales, 2 * torch.randn(count, generator=g), torch.rand(count, 3, generator=g)]


def leaves(tensors: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    return [tensor.to(dtype).requires_grad_() for tensor in (t.clone() for t in tensors)]


def relative(ours: Tensor | None, truth: Tensor | None) -> float:
    assert ours is not None
    assert truth is not None
    return float((ours.double() - truth).norm() / truth.norm().clamp(min=1e-6))


@pytest.mark.parametrize(("count", "size"), [(0, 16), (1, 1), (1, 17), (40, 37), (500, 50)])
def test_splat_and_its_gradients_agree_with_the_reference(count: int, size: int) -> None:
    tensors = scene(count)
    ours, truth = leaves(tensors, torch.float32), leaves(tensors, torch.float64)
    weights = torch.randn(4, size, size, generator=rng(1))
    image = torch.cat(ops.splat(*ours, focal=1.8 * size, size=size))
    expected = torch.cat(reference.splat(*truth, focal=1.8 * size, size=size))
    assert (image - expected).abs().max() < 1e-5
    if count == 0:
        return
    (image * weights).sum().backward()
    (expected * weights).sum().backward()
    for mine, exact in zip(ours, truth, strict=True):
        assert relative(mine.grad, exact.grad) < 1e-4


def test_splat_early_stop_changes_less_than_the_stop() -> None:
    tensors = scene(800, spread=1.5)
    tensors[3] += 4
    rgb, _ = ops.splat(*tensors, focal=60.0, size=32)
    expected, _ = reference.splat(*(t.double() for t in tensors), focal=60.0, size=32)
    assert (rgb - expected).abs().max() < 2e-4


def test_splats_behind_the_camera_are_not_drawn_and_get_no_gradient() -> None:
    tensors = scene(14)
    tensors[0][:, 2] = 0.5
    ours = leaves(tensors, torch.float32)
    rgb, alpha = ops.splat(*ours, focal=100.0, size=33)
    (rgb.sum() + alpha.sum()).backward()
    assert rgb.abs().max() == 0
    assert all(float(leaf.grad.abs().max()) == 0 for leaf in ours if leaf.grad is not None)


def test_equal_depths_keep_their_order() -> None:
    means = torch.tensor([[0.0, 0, 50]]).repeat(2, 1)
    colors = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])
    rgb, _ = ops.splat(means, torch.tensor([[1.0, 0, 0, 0]]).repeat(2, 1), torch.zeros(2, 3), torch.ones(2) * 4, colors,
                       focal=200.0, size=31)  # fmt: skip
    assert rgb[0, 15, 15] > 0.9
    assert rgb[1, 15, 15] < 0.1


def test_screen_gradient_is_the_length_of_the_screen_position_gradient() -> None:
    tensors = scene(30)
    tensors[0][:, 2] = tensors[0][:, 2].abs() + 20
    screen = torch.zeros(30)
    ours = leaves(tensors, torch.float32)
    focal, size = 90.0, 48
    rgb, _ = ops.splat(*ours, focal=focal, size=size, screen_gradient=screen)
    rgb.square().sum().backward()
    # With log-scales this small only the 0.3 px low-pass is left: the mean acts through its screen position alone.
    small = [*tensors[:2], torch.full((30, 3), -12.0), *tensors[3:]]
    ours, screen = leaves(small, torch.float32), torch.zeros(30)
    rgb, _ = ops.splat(*ours, focal=focal, size=size, screen_gradient=screen)
    rgb.square().sum().backward()
    assert ours[0].grad is not None
    expected = ours[0].grad[:, :2].norm(dim=1) * small[0][:, 2] / focal
    assert torch.allclose(screen, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("ssim_weight", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("size", [1, 5, 37, 130])
def test_photo_error_and_its_gradient_agree_with_the_reference(size: int, ssim_weight: float) -> None:
    g = rng(size)
    image, target = torch.rand(3, size, size, generator=g), torch.rand(3, size, size, generator=g)
    weight = torch.rand(1, size, size, generator=g)
    (ours,), (truth,) = leaves([image], torch.float32), leaves([image], torch.float64)
    error = ops.photo_error(ours, target, weight, ssim_weight=ssim_weight)
    expected = reference.photo_error(truth, target.double(), weight.double(), ssim_weight=ssim_weight)
    assert error.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-7)
    (3 * error).backward()
    (3 * expected).backward()
    assert relative(ours.grad, truth.grad) < 1e-5


def test_photo_error_of_equal_pictures_and_of_no_weight_is_zero() -> None:
    picture = torch.rand(3, 40, 40, generator=rng())
    assert float(ops.photo_error(picture, picture, torch.ones(1, 40, 40))) == pytest.approx(0, abs=1e-6)
    image = picture.clone().requires_grad_()
    error = ops.photo_error(image, 1 - picture, torch.zeros(1, 40, 40))
    error.backward()
    assert error.item() == 0
    assert image.grad is not None
    assert float(image.grad.abs().max()) == 0


@pytest.mark.parametrize(("rows", "columns"), [(0, 5), (1, 1), (3, 65), (32, 10007), (5, 0)])
def test_deform_and_its_gradients_agree_with_the_reference(rows: int, columns: int) -> None:
    g = rng(rows)
    tensors = [torch.randn(*shape, generator=g) for shape in ((columns,), (rows, columns), (rows,))]
    ours, truth = leaves(tensors, torch.float32), leaves(tensors, torch.float64)
    weights = torch.randn(columns, generator=g)
    out, expected = ops.deform(*ours), reference.deform(*truth)
    assert torch.allclose(out.double(), expected, rtol=1e-5, atol=1e-5)
    (out * weights).sum().backward()
    (expected * weights).sum().backward()
    for mine, exact in zip(ours, truth, strict=True):
        assert relative(mine.grad, exact.grad) < 1e-5


@pytest.mark.parametrize("columns", [1, 63, 9000])
@pytest.mark.parametrize("one_rate", [True, False])
def test_deform_adam_follows_adam(columns: int, one_rate: bool) -> None:
    g = rng(columns)
    ours = [torch.randn(4, columns, generator=g), torch.zeros(4, columns), torch.zeros(4, columns)]
    truth = [tensor.double() for tensor in ours]
    rates = torch.rand(columns, generator=g) * 0.01
    for step in range(1, 6):
        gradient, coefficients = torch.randn(columns, generator=g), torch.randn(4, generator=g)
        ops.deform_adam_(*ours, gradient, coefficients, lr=0.01 if one_rate else rates, step=step)
        reference.deform_adam_(
            *truth, gradient.double(), coefficients.double(), lr=0.01 if one_rate else rates.double(), step=step
        )
    for mine, exact in zip(ours, truth, strict=True):
        assert torch.allclose(mine.double(), exact, rtol=1e-4, atol=1e-6)


def test_deform_adam_refuses_what_it_cannot_update_in_place() -> None:
    deltas = torch.zeros(6, 4).T
    with pytest.raises(ValueError, match=r"deform_adam_\.deltas is not contiguous"):
        ops.deform_adam_(deltas, deltas, deltas, torch.zeros(6), torch.zeros(4), lr=0.1, step=1)


@pytest.mark.parametrize("columns", [1, 64, 1000, 9001])
def test_int8_blendshapes_are_near_and_equal_their_reference(columns: int) -> None:
    g = rng(columns)
    deltas, base, coefficients = (torch.randn(*s, generator=g) for s in ((8, columns), (columns,), (8,)))
    deltas[3] = 0
    codes, scales = ops.quantize(deltas)
    assert codes.dtype == torch.int8
    assert scales.shape == (8, -(-columns // 64))
    step = scales.repeat_interleave(64, 1)[:, :columns]
    assert ((ops.dequantize(codes, scales) - deltas).abs() <= 0.501 * step).all()
    out = ops.deform_int8(base, codes, scales, coefficients)
    expected = reference.deform_int8(base.double(), codes, scales.double(), coefficients.double())
    assert torch.allclose(out.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [1, 15, 64, 129])
def test_to_bytes_equals_the_reference(size: int) -> None:
    g = rng(size)
    rgb, alpha = 1.4 * torch.rand(3, size, size, generator=g) - 0.2, torch.rand(1, size, size, generator=g)
    background = torch.randint(0, 256, (size, size, 3), generator=g, dtype=torch.uint8)
    difference = ops.to_bytes(rgb, alpha, background).int() - reference.to_bytes(rgb, alpha, background).int()
    assert int(difference.abs().max()) <= 1  # a half may round to either side
    assert float((difference != 0).float().mean()) <= 1e-3
    assert torch.equal(ops.to_bytes(torch.zeros_like(rgb), torch.zeros_like(alpha), background), background)


def pose(count: int, seed: int) -> list[Tensor]:
    g = rng(seed)
    far = torch.tensor([0.0, 0, 60])
    rotations = [reference.rotation_matrix(torch.randn(4, generator=g)) for _ in range(2)]
    return [
        torch.randn(count, 3, generator=g), torch.randn(count, 4, generator=g), torch.rand(count, generator=g),
        rotations[0], far + torch.randn(3, generator=g), rotations[1], far, torch.tensor([5.0, -3.0, 0.1, 0.2]),
    ]  # fmt: skip


@pytest.mark.parametrize("count", [1, 7, 3001])
@pytest.mark.parametrize("seed", range(8))  # the quaternion of a rotation has four branches
def test_place_and_its_gradients_agree_with_the_reference(count: int, seed: int) -> None:
    tensors = pose(count, seed)
    ours, truth = leaves(tensors, torch.float32), leaves(tensors, torch.float64)
    g = rng(seed)
    weights = torch.randn(count, 7, generator=g)
    out = torch.cat(ops.place(*ours, focal=700.0, size=512), 1)
    expected = torch.cat(reference.place(*truth, focal=700.0, size=512), 1)
    assert torch.allclose(out.double(), expected, rtol=1e-5, atol=1e-5)
    (out * weights).sum().backward()
    (expected * weights).sum().backward()
    for mine, exact in list(zip(ours, truth, strict=True))[:5]:
        assert relative(mine.grad, exact.grad) < 1e-4


def test_place_of_no_splats() -> None:
    means, quaternions = ops.place(*pose(0, 0), focal=700.0, size=512)
    assert means.shape == (0, 3)
    assert quaternions.shape == (0, 4)


def everything() -> list[Tensor]:
    """Results and gradients of all ops on one fixed input."""
    size, results = 100, []
    ours = leaves(scene(600), torch.float32)
    screen = torch.zeros(600)
    rgb, alpha = ops.splat(*ours, focal=180.0, size=size, screen_gradient=screen)
    error = ops.photo_error(rgb, torch.zeros_like(rgb), 1 - alpha.detach())
    (error + alpha.mean()).backward()
    results += [rgb.detach(), alpha.detach(), error.detach(), screen, *(leaf.grad for leaf in ours)]
    g = rng(3)
    tensors = leaves([torch.randn(*s, generator=g) for s in ((20000,), (9, 20000), (9,))], torch.float32)
    out = ops.deform(*tensors)
    out.square().sum().backward()
    results += [out.detach(), *(leaf.grad for leaf in tensors)]
    poses = leaves(pose(5000, 2), torch.float32)
    means, quaternions = ops.place(*poses, focal=700.0, size=512)
    (means.square().sum() + quaternions[:, 1].sum()).backward()
    results += [means.detach(), quaternions.detach(), *(leaf.grad for leaf in poses[:5])]
    results.append(ops.to_bytes(rgb.detach(), alpha.detach(), torch.zeros(size, size, 3, dtype=torch.uint8)))
    return [tensor for tensor in results if tensor is not None]


def named() -> dict[str, Tensor]:
    return {f"{index:02d}": tensor.contiguous() for index, tensor in enumerate(everything())}


def save_everything(path: str) -> None:
    save_file(named(), path)


def test_any_number_of_threads_gives_the_same_bits() -> None:
    results = []
    for threads in (1, 2, 3, 5):
        ops.set_threads(threads)
        assert ops.get_threads() == threads
        results.append(everything())
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("isa", ["v2", "v3", "v4"])
def test_every_instruction_set_agrees(isa: str, tmp_path: Path) -> None:
    if not ops.isa().startswith("v") or isa > ops.isa():
        pytest.skip(f"this processor has no {isa}")
    code = "import sys; sys.path.insert(0, 'tests'); import test_ops as t; t.save_everything(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "out.safetensors")],
        cwd=ROOT,
        check=True,
        env={**os.environ, "AVATAR_ISA": isa},
    )
    others = load_file(tmp_path / "out.safetensors")
    for name, mine in named().items():
        limit = 1.0 if mine.dtype == torch.uint8 else 1e-3 * float(mine.abs().max()) + 1e-6
        assert torch.allclose(mine.double(), others[name].double(), rtol=1e-3, atol=limit), name


def test_an_unknown_instruction_set_is_named() -> None:
    code = "from cuda_ext import ops; ops.isa()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env={**os.environ, "AVATAR_ISA": "v9"}
    )
    assert "AVATAR_ISA is v9, expected v2, v3 or v4" in done.stderr or ops.isa() == "generic"


def test_a_missing_build_says_how_to_build() -> None:
    code = "import sys; sys.modules['cuda_ext._native'] = None; from cuda_ext import ops; ops.isa()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert "ImportError: the native ops are not built" in done.stderr


def test_named_errors() -> None:
    tensors = scene(5)
    with pytest.raises(ValueError, match=r"splat\.colors is \[4, 3\], expected \[N, 3\] with N = 5 \(from means\)"):
        ops.splat(*tensors[:4], tensors[4][:4], focal=10.0, size=8)
    with pytest.raises(TypeError, match=r"splat\.means is torch\.float64, expected torch\.float32"):
        ops.splat(tensors[0].double(), *tensors[1:], focal=10.0, size=8)
    with pytest.raises(ValueError, match="focal is -1"):
        ops.splat(*tensors, focal=-1.0, size=8)
    tensors[2][3, 1] = float("nan")
    with pytest.raises(ValueError, match=r"splat\.log_scales has a value that is not finite"):
        ops.splat(*tensors, focal=10.0, size=8)
    with pytest.raises(ValueError, match=r"photo_error\.weight"):
        ops.photo_error(torch.zeros(3, 4, 4), torch.zeros(3, 4, 4), torch.zeros(4, 4))
    with pytest.raises(TypeError, match=r"to_bytes\.background is torch\.float32, expected torch\.uint8"):
        ops.to_bytes(torch.zeros(3, 4, 4), torch.zeros(1, 4, 4), torch.zeros(4, 4, 3))
    with pytest.raises(ValueError, match=r"deform\.base is on meta, expected cpu or cuda"):
        ops.deform(torch.zeros(2, device="meta"), torch.zeros(1, 2), torch.zeros(1))
    with pytest.raises(ValueError, match="count is -1"):
        ops.set_threads(-1)
    with pytest.raises(TypeError, match=r"deform\.base is list, expected a tensor"):
        ops.deform([], torch.zeros(1, 0), torch.zeros(1))  # type: ignore[arg-type]


shapes = st.lists(st.integers(0, 5), max_size=4)


@settings(max_examples=100, deadline=None)
@given(st.lists(shapes, min_size=5, max_size=5))
@example([[2, 3], [2, 4], [2, 3], [2], [2, 3]])
def test_splat_takes_right_shapes_and_refuses_all_others(given_shapes: list[list[int]]) -> None:
    tensors = [torch.zeros(shape) for shape in given_shapes]
    count = given_shapes[0][0] if given_shapes[0] else 0
    if given_shapes == [[count, 3], [count, 4], [count, 3], [count], [count, 3]]:
        assert ops.splat(*tensors, focal=5.0, size=4)[0].shape == (3, 4, 4)
    else:
        with pytest.raises(ValueError, match=r"splat\.\w+ is \["):
            ops.splat(*tensors, focal=5.0, size=4)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 40), st.integers(1, 70), st.integers(0, 1000))
def test_splat_of_any_size_is_finite_and_covers_at_most_everything(count: int, size: int, seed: int) -> None:
    rgb, alpha = ops.splat(*scene(count, seed=seed), focal=1.5 * size, size=size)
    assert torch.isfinite(rgb).all()
    assert 0 <= float(alpha.min()) <= float(alpha.max()) <= 1


@pytest.mark.parametrize("value", [1e30, -1e30, 1e-30, 80.0])
def test_extreme_parameters_neither_crash_nor_make_nan(value: float) -> None:
    for which in range(5):
        tensors = scene(20)
        tensors[which][::2] = value
        ours = leaves(tensors, torch.float32)
        rgb, alpha = ops.splat(*ours, focal=80.0, size=40)
        assert 0 <= alpha.min().item() <= alpha.max().item() <= 1
        if which != 4:
            assert torch.isfinite(rgb).all()


def test_check_shapes_names_the_culprit() -> None:
    sizes = check_shapes("Track", {"rotation": (torch.zeros(5, 3, 3), "T 3 3"), "torso": (torch.zeros(5, 4), "T 4")})
    assert sizes == {"T": 5}
    with pytest.raises(ValueError, match=r"Track\.torso is \[4, 4\], expected \[T, 4\] with T = 5 \(from rotation\)"):
        check_shapes("Track", {"rotation": (torch.zeros(5, 3, 3), "T 3 3"), "torso": (torch.zeros(4, 4), "T 4")})


def test_units_of_one_instruction_set_leave_no_shared_symbols() -> None:
    """A weak symbol compiled for AVX-512 could be the one the linker keeps, and crash every older processor."""
    objects = sorted(ROOT.glob("build/*/CMakeFiles/kernels_v[34].dir/cpu/*.o"))
    if not objects or shutil.which("nm") is None:
        pytest.skip("no build folder beside the checkout, or no nm")
    for path in objects:
        listing = subprocess.run(["nm", "-C", str(path)], capture_output=True, text=True, check=True).stdout
        for line in listing.splitlines():
            if any(f" {kind} " in line for kind in "WVu"):
                assert "avatar::v" in line or "DW.ref" in line, f"{path.name}: {line}"
