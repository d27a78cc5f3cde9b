"""The wheel: what is in it, what it links to, and that it works where nothing else of the project is."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent
LINKED = {
    "libstdc++",
    "libm",
    "libgcc_s",
    "libc",
    "libpthread",
    "libdl",
    "librt",
    "ld-linux-x86-64",
    "ld-linux-aarch64",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as `make wheel` builds it, with what is installed already."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "pip", "wheel", str(ROOT), "--no-deps", "--no-build-isolation", "-q"]
    subprocess.run([*command, "-C", "build-dir=build/wheel", "-w", str(folder)], check=True, cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


def test_it_holds_the_three_packages_and_no_sources(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"avatar", "preprocess", "cuda_ext"}
    assert not [name for name in names if name.endswith((".cpp", ".h", ".cu", "CMakeLists.txt"))]
    assert not [name for name in names if "_emulated" in name]
    assert wheel.stat().st_size < (15.5e6 if shutil.which("nvcc") else 14e6)  # docs/figures.md, The package


def test_its_module_links_to_the_system_alone(wheel: Path, tmp_path: Path) -> None:
    if shutil.which("readelf") is None:
        pytest.skip("no readelf")
    with zipfile.ZipFile(wheel) as archive:
        (module,) = (name for name in archive.namelist() if name.endswith(".so"))
        archive.extract(module, tmp_path)
    said = subprocess.run(["readelf", "-d", str(tmp_path / module)], capture_output=True, text=True, check=True).stdout
    needed = {name.split(".so")[0] for name in re.findall(r"\(NEEDED\).*\[(.*)\]", said)}
    assert needed <= LINKED


def test_it_works_in_a_clean_environment(wheel: Path, tmp_path: Path) -> None:
    """Torch comes from where the tests run; everything else is new. No GPU driver is needed to import."""
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--no-deps", "-q", str(wheel)], check=True)
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "torch_is_there.pth").write_text(sysconfig.get_paths()["purelib"])
    code = """
import torch
from cuda_ext import native, ops
rgb, alpha = ops.splat(torch.tensor([[0.0, 0, 50]]), torch.tensor([[1.0, 0, 0, 0]]), torch.zeros(1, 3),
                       torch.ones(1), torch.ones(1, 3), focal=50.0, size=20)
assert 0.5 < float(alpha.max()) < 1 and "site-packages" in native.__file__ and "venv" in native.__file__
print(ops.isa(), ops.cuda_architectures())
"""
    done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    if shutil.which("nvcc"):  # kernels in the wheel, and torch of whatever build
        assert "75-real" in done.stdout
