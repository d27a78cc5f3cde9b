"""Does an op of an unpacked wheel run on a device? python -I bench/wheel_check.py SITE cpu|cuda; needs torch alone."""

from __future__ import annotations

import sys
from pathlib import Path

import torch


def main() -> None:
    site, device = Path(sys.argv[1]).resolve(), torch.device(sys.argv[2])
    # An editable install of the checkout would be found first.
    sys.meta_path[:] = [finder for finder in sys.meta_path if not type(finder).__name__.startswith("ScikitBuild")]
    sys.path.insert(0, str(site))
    from cuda_ext import native, ops

    assert Path(native.__file__).is_relative_to(site), native.__file__
    assert ops.cuda_architectures(), "the wheel has no kernels for GPUs"
    splat = (torch.tensor([[0.0, 0, 50]]), torch.tensor([[1.0, 0, 0, 0]]), torch.zeros(1, 3))
    look = (torch.ones(1), torch.ones(1, 3))
    _, alpha = ops.splat(*(part.to(device) for part in (*splat, *look)), focal=50.0, size=20)
    assert 0.5 < float(alpha.max()) < 1, alpha.max()
    sys.stdout.write(f"{device}: torch {torch.__version__}, kernels for {ops.cuda_architectures()}\n")


if __name__ == "__main__":
    main()
