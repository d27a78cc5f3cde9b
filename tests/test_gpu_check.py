"""The runner of `make gpu-check`: stages fail alone, end at their limits and wait for each other. No GPU is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import pytest

from bench import gpu_check
from bench.gpu_check import Card, all_stages, find_inputs, merge
from bench.stages import Result, Stage, plain_figures, run_stages

ROOT = Path(__file__).parent.parent
CARD = Card("cuda", "NVIDIA Test 9000", "580.1", "90")


def stage(name: str, code: str, limit: float = 60.0, **more: object) -> Stage:
    return Stage(name, ((sys.executable, "-c", code),), limit, **more)  # type: ignore[arg-type]


def run(folder: Path, *stages: Stage, limit: float = 120.0) -> dict[str, Result]:
    return {result.name: result for result in run_stages(stages, folder, limit)}


def test_stages_fail_alone_and_say_why(tmp_path: Path) -> None:
    results = run(
        tmp_path,
        stage("good", "print('done')"),
        stage("bad", "import no_such_package"),
        stage("absent", "print('needs what is not here'); raise SystemExit(77)"),
        stage("killed", "import os; os.kill(os.getpid(), 9)"),
        Stage("wrong", (("no-such-command", "x"),), 60),
        stage("left out", "raise SystemExit(1)", missing="nvcc is not installed"),
    )
    states = {name: (result.state, result.reason) for name, result in results.items()}
    assert states.pop("bad") == ("failed", "ModuleNotFoundError: No module named 'no_such_package'")
    assert states == {
        "good": ("ok", ""),
        "absent": ("skipped", "needs what is not here"),
        "killed": ("failed", "exit status -9"),
        "wrong": ("failed", "[Errno 2] No such file or directory: 'no-such-command'"),
        "left out": ("skipped", "nvcc is not installed"),
    }


def test_figures_are_those_that_the_stage_wrote(tmp_path: Path) -> None:
    code = "import json, sys; json.dump({'steps': 3}, open(sys.argv[1], 'w'))"
    writes = Stage("writes", ((sys.executable, "-c", code, "{output}"), (sys.executable, "-c", "print('end')")), 60)
    assert run(tmp_path, writes)["writes"].figures == {"steps": 3}
    assert "end" in (tmp_path / "writes.log").read_text()
    breaks = Stage("writes", ((sys.executable, "-c", "raise SystemExit(1)"),), 60)
    assert run(tmp_path, breaks)["writes"].figures == {}, "those of an earlier run are gone"


def test_a_stage_is_stopped_at_its_limit_with_all_it_started(tmp_path: Path) -> None:
    place = tmp_path / "child"
    code = "import subprocess, time; child = subprocess.Popen(['sleep', '99'])"
    code += f"; open({str(place)!r}, 'w').write(str(child.pid)); time.sleep(99)"
    start = time.monotonic()
    (result,) = run(tmp_path, stage("hangs", code, limit=3.0)).values()
    assert (result.state, result.reason) == ("failed", "stopped after 3 s")
    assert time.monotonic() - start < 20
    child = Path("/proc", place.read_text(), "stat")
    while child.exists() and child.read_text().split()[2] != "Z":
        assert time.monotonic() - start < 30
        time.sleep(0.1)


def test_the_whole_ends_at_its_limit(tmp_path: Path) -> None:
    sleep = "import time; time.sleep(99)"
    results = run(tmp_path, stage("one", sleep, timed=True), stage("two", sleep, timed=True), limit=2.0)
    assert results["one"].reason == "stopped after 2 s"
    assert (results["two"].state, results["two"].reason) == ("skipped", "no time was left")


def test_what_builds_on_a_failure_is_skipped_and_names_it(tmp_path: Path) -> None:
    results = run(
        tmp_path,
        stage("build", "raise SystemExit('no compiler')"),
        stage("tests", "", after=("build",)),
        stage("speed", "", after=("tests",), timed=True),
        stage("other", "", after=("not chosen",), timed=True),
    )
    assert (results["tests"].state, results["tests"].reason) == ("skipped", "build failed: no compiler")
    assert results["speed"].state == "skipped"
    assert results["other"].state == "ok"


def test_timed_stages_run_alone(tmp_path: Path) -> None:
    code = "import sys, time; s = time.time(); time.sleep(.4); open(sys.argv[1], 'w').write(f'[{s}, {time.time()}]')"
    places = {name: tmp_path / name for name in ("a", "b", "fast", "slow")}
    stages = [
        Stage(name, ((sys.executable, "-c", code, str(place)),), 60, timed=name in ("fast", "slow"))
        for name, place in places.items()
    ]
    run(tmp_path / "logs", *stages)
    a, b, fast, slow = (json.loads(place.read_text()) for place in places.values())
    assert max(a[0], b[0]) < min(a[1], b[1]), "these run together"
    assert fast[0] >= max(a[1], b[1])
    assert slow[0] >= fast[1]


def inputs(**given: Path) -> Namespace:
    return Namespace(**{"video": None, "take": None, "avatar": None, "logs": Path("logs")} | given)


def test_every_stage_follows_what_it_needs() -> None:
    stages = all_stages(CARD, find_inputs(inputs()))
    names = [one.name for one in stages]
    assert len(names) == len(set(names))
    for place, one in enumerate(stages):
        assert set(one.after) <= set(names[:place]), one.name
    after = {one.name: one.after for one in stages}
    assert {after[name] for name in ("training", "nerf", "drawing", "video")} == {("build", "inputs")}
    assert after["ops"] == after["tests"] == ("build",)
    (tests,) = next(one.commands for one in stages if one.name == "tests")
    assert {*gpu_check.KERNEL_TESTS, gpu_check.GSPLAT_TEST, gpu_check.NERFACC_TEST} < set(tests)
    assert "tests/test_cli.py" not in tests
    assert after["gsplat"] == ("build", "gsplat-build")
    assert after["nerfacc"] == ("build", "nerfacc-build")


def test_what_compiles_at_its_first_use_does_so_once() -> None:
    """In a stage of its own, and for the same GPU wherever it is used: the tests' own time would not be enough."""
    stages = {one.name: one for one in all_stages(CARD, find_inputs(inputs()))}
    assert {one.environment["TORCH_CUDA_ARCH_LIST"] for one in stages.values()} == {"9.0"}
    (tests,), (initcheck,) = stages["tests"].commands, stages["initcheck"].commands
    assert tests[tests.index("-k") + 1] == "cuda and not gsplat and not nerfacc"
    assert initcheck[initcheck.index("-k") + 1].endswith("and not mlp")


def test_each_test_has_a_line_as_soon_as_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a stage that is stopped has said what failed before, and one that hangs where."""
    monkeypatch.setattr(gpu_check, "WORKERS", 1)
    monkeypatch.setattr(gpu_check, "STUCK_SECONDS", 1)
    file = tmp_path / "test_it.py"
    file.write_text("import time\ndef test_bad_cpu(): assert 0\ndef test_stuck_cpu(): time.sleep(2)\n")
    command = gpu_check.in_parallel(Card("cpu", "cpu", "", "90"), [str(file)], "cuda")
    assert run(tmp_path / "logs", Stage("tests", (command,), 100))["tests"].state == "failed"
    log = (tmp_path / "logs" / "tests.log").read_text()
    line = next(line for line in log.splitlines() if "FAILED" in line)
    assert "test_bad_cpu" in line
    assert log.index(line) < log.index("in test_stuck_cpu") < log.index("FAILURES")


def test_what_is_given_is_not_made() -> None:
    given = inputs(take=Path("my.take"), avatar=Path("my.avatar"))
    stages = {one.name: one for one in all_stages(CARD, find_inputs(given))}
    assert not {"inputs", "video"} & stages.keys()
    (drawing,) = stages["drawing"].commands
    assert "my.avatar" in drawing
    assert stages["drawing"].after == ("build",)
    given = inputs(take=Path("my.take"))
    stages = {one.name: one for one in all_stages(CARD, find_inputs(given))}
    (made,) = stages["inputs"].commands
    assert made[made.index("--take") + 1] == "my.take"
    assert "--video" not in made
    assert (stages["training"].after, stages["drawing"].after) == (("build",), ("build", "inputs"))


def test_figures_of_other_stages_stay_on_the_same_machine_only() -> None:
    about = {"gpu": "a", "torch": "2"}
    first = merge({}, about, [Result("ops", "ok", 1.0, figures={"x": 1}), Result("nerf", "skipped")], "one")
    assert first["stages"].keys() == {"ops"}
    second = merge(first, about, [Result("nerf", "failed", 2.0, "why"), Result("ops", "skipped")], "two")
    assert second["stages"]["ops"] == first["stages"]["ops"]
    assert (second["stages"]["nerf"]["commit"], second["stages"]["nerf"]["reason"]) == ("two", "why")
    assert merge(second, about | {"torch": "3"}, [], "three")["stages"] == {}


def test_figures_have_a_line_each() -> None:
    rows = [{"name": "splat", "min_ms": 2.0, "against": "gsplat", "against_ms": 3.0}, {"name": "place", "min_ms": 0.5}]
    content = {"machine": {"threads": 16}, "rows": rows, "step": {"ms": 0.81234, "steps": 4000, "good": True}}
    assert list(plain_figures(content)) == [
        ("splat", "2.000 ms  1.50x gsplat"),
        ("place", "0.500 ms"),
        ("step ms", "0.8123"),
        ("step steps", "4000"),
    ]


BARE = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {absent}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
import pytest
sys.exit(pytest.main(["-q", "--collect-only", "-p", "no:xdist", "-p", "no:cacheprovider", *sys.argv[1:]]))
"""
KERNELS_NEED_NOT = {
    "avatar",
    "preprocess",
    "pydantic",
    "mediapipe",
    "cv2",
    "ffmpeg",
    "imageio_ffmpeg",
    "yaml",
    "filelock",
}


@pytest.mark.parametrize("file", gpu_check.gpu_tests())
def test_kernels_are_tested_where_only_torch_is(file: str) -> None:
    """With nothing of the project but cuda_ext; what needs more is skipped there, not an error."""
    absent = KERNELS_NEED_NOT if file in gpu_check.KERNEL_TESTS else KERNELS_NEED_NOT - {"avatar", "preprocess"}
    command = [sys.executable, "-c", BARE.format(absent=absent), file, "-k", "cuda"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=120)
    assert done.returncode == (0 if file in gpu_check.KERNEL_TESTS else 5), done.stdout + done.stderr
    assert "error" not in done.stdout.lower()


def test_where_there_is_no_gpu_it_says_so() -> None:
    command = [sys.executable, "-m", "bench.gpu_check"]
    hidden = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=hidden, timeout=60)
    assert done.returncode == 1
    assert "finds no NVIDIA GPU" in done.stderr
