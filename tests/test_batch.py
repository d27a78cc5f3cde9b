"""The job file: what it becomes, and that each problem is reported with its line before anything starts."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avatar.batch.address import Digests, address, digest, fingerprint, unchanged
from avatar.batch.estimate import estimate
from avatar.batch.expand import read_batch
from avatar.batch.jobs import KINDS, Job, Need, from_json, schema
from avatar.batch.journal import log_path
from avatar.batch.plan import make_plan
from avatar.batch.scheduler import Scheduler
from avatar.core.files import UserError
from avatar.pipelines.option_table import options_of
from avatar.pipelines.verbs import VERBS


def make_studio(folder: Path) -> Path:
    """A folder with two avatars, three speeches, a clip."""
    for name in ("anna.avatar", "bert.avatar", "one.wav", "two.wav", "night/three.wav", "clip.mp4"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_studio(tmp_path)


def write(folder: Path, text: str, name: str = "jobs.yaml") -> Path:
    (folder / name).write_text(text)
    return folder / name


def problems(folder: Path, text: str, name: str = "jobs.yaml") -> list[str]:
    return [f"{problem.line}: {problem.text}" for problem in make_plan(write(folder, text, name))[1]]


ONE = "jobs:\n- {kind: speak, avatar: anna.avatar, speech: one.wav, output: o.mp4"


def test_matrix_makes_every_combination(folder: Path) -> None:
    text = """
jobs:
- kind: speak
  matrix: {avatar: [anna.avatar, bert.avatar], speech: ["*.wav", "**/*.wav"], size: [128, 256]}
  output: films/{avatar}/{speech}_{size}_{n}.mp4
"""
    jobs = read_batch(write(folder, text)).jobs
    assert len(jobs) == 2 * 3 * 2
    assert {
        (Path(job.inputs["avatar"]).stem, Path(job.inputs["speech"]).stem, job.options["size"]) for job in jobs
    } == {
        (avatar, speech, size)
        for avatar in ("anna", "bert")
        for speech in ("one", "two", "three")
        for size in (128, 256)
    }
    assert jobs[0].outputs["output"] == str(folder / "films/anna/one_128_1.mp4")
    assert jobs[0].id == "films/anna/one_128_1.mp4"
    assert len({job.id for job in jobs}) == len(jobs)


def test_defaults_stand_under_entries(folder: Path) -> None:
    text = """
defaults:
  all: {limit: 10m, device: cpu, consent: signed}
  speak: {size: 128, quality: draft}
jobs:
- {kind: speak, avatar: anna.avatar, speech: one.wav, output: o.mp4, size: 256}
- {kind: build, source: clip.mp4, output: c.avatar, limit: 1h}
"""
    speak, build = read_batch(write(folder, text)).jobs
    assert (speak.options["size"], speak.options["quality"], speak.limit) == (256, "draft", 600.0)
    assert (build.options["consent"], build.limit) == ("signed", 3600.0)


def test_json_lines_are_the_same_jobs(folder: Path) -> None:
    entry = {"kind": "speak", "avatar": "anna.avatar", "speech": ["one.wav", "two.wav"], "output": "{speech}.mp4"}
    head = {"defaults": {"speak": {"size": 128}}}
    lines = write(folder, f"{json.dumps(head)}\n\n{json.dumps(entry)}\n", "jobs.jsonl")
    plain = write(folder, json.dumps(head | {"jobs": [entry]}))
    assert [(j.id, j.inputs, j.options) for j in read_batch(lines).jobs] == [
        (j.id, j.inputs, j.options) for j in read_batch(plain).jobs
    ]


def test_what_a_job_above_makes_is_found_and_waited_for(folder: Path) -> None:
    text = """
jobs:
- {id: build, kind: build, source: "*.mp4", output: "made/{source}.avatar"}
- {kind: speak, avatar: "made/*.avatar", speech: one.wav, output: "films/{avatar}.mp4"}
- {kind: speak, avatar: anna.avatar, speech: one.wav, output: last.mp4, after: build}
"""
    plan, wrong = make_plan(write(folder, text))
    assert not wrong
    assert plan.waits["films/clip.mp4"] == {"made/clip.avatar"}
    assert plan.waits["last.mp4"] == {"entry build"}
    assert plan.waits["entry build"] == {"made/clip.avatar"}


def test_files_of_controls_and_recipes_become_part_of_the_job(folder: Path) -> None:
    write(folder, "{head: 0.5, style: clip.mp4}", "calm.yaml")
    job = read_batch(write(folder, ONE + ", controls: calm.yaml}")).jobs[0]
    assert job.options["controls"] == {"head": 0.5, "style": str(folder / "clip.mp4")}
    assert job.files == {"controls.style": str(folder / "clip.mp4")}


def test_job_files_know_every_option_of_the_command_line(folder: Path) -> None:
    for kind, verb in VERBS.items():
        assert {option.name for option in options_of(verb)} <= KINDS[kind].model_fields.keys()
        assert schema()["$defs"][verb.__name__]["properties"].keys() == KINDS[kind].model_fields.keys()


def test_takes_and_motions_are_made_too(folder: Path) -> None:
    text = """
jobs:
- {kind: preprocess, video: clip.mp4, output: c.take, landmarker: one.wav}
- {kind: build, source: c.take, output: c.avatar, steps: 60}
- {kind: render, avatar: c.avatar, take: c.take, output: c.mp4, frames_dir: c_frames, split: all, size: 128}
- {kind: motion, avatar: c.avatar, speech: one.wav, output: c.csv, layout: arkit, controls: {head: {0: 0, 1: 1}}}
"""
    plan, wrong = make_plan(write(folder, text))
    assert not wrong
    preprocess, build, render, motion = plan.jobs.values()
    assert (preprocess.files, build.options) == ({"landmarker": str(folder / "one.wav")}, {"steps": 60})
    assert render.outputs == {"output": str(folder / "c.mp4"), "frames_dir": str(folder / "c_frames")}
    assert render.options == {"split": "all", "size": 128}
    assert motion.options == {"layout": "arkit", "controls": {"head": {0: 0, 1: 1}}}
    assert (motion.model, render.model) == (str(folder / "c.avatar"), str(folder / "c.avatar"))
    assert plan.waits["c.mp4"] == {"c.avatar", "c.take"}
    lines = estimate(plan, folder / "none", 2)
    assert [line.split()[0] for line in lines[:4]] == ["preprocess", "build", "render", "motion"]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (ONE + ", sise: 3}", 2, "unknown key 'sise'; did you mean 'size'?"),
        ("jobs:\n- kind: speek\n  avatar: x", 2, "kind 'speek' is unknown; did you mean 'speak'?"),
        ("jobs:\n- avatar: x", 2, "needs a kind: preprocess, build, speak, render, motion, evaluate"),
        ("jobs:\n- kind: speak\n  avatar: anna.avatar\n  output: o.mp4", 2, "speech: is missing"),
        (ONE + ",\n   size: 3}", 3, "size: input should be greater than or equal to 64"),
        (ONE + ", limit: soon}", 2, "limit: 'soon' is not a duration"),
        (ONE + ", output: p.mp4}", 2, "'output' stands there twice"),
        (ONE.replace("anna", "nobody") + "}", 2, "nobody.avatar does not exist, and no job makes it"),
        (ONE.replace("one", "no*") + "}", 2, "speech: nothing is called no*.wav"),
        (ONE.replace("o.mp4", "clip.mp4/o.mp4") + "}", 2, "clip.mp4 is not a folder"),
        (ONE.replace("o.mp4", '"{speach}.mp4"') + "}", 2, "unknown name 'speach'; did you mean 'speech'?"),
        (ONE.replace("o.mp4", "clip.mp4").replace("one.wav", "clip.mp4") + "}", 2, "is also what the job reads"),
        (ONE.replace("o.mp4", "o.avi") + "}", 2, "cannot be written as .avi"),
        (ONE + "}\n" + ONE[6:] + "}", 3, "o.mp4 is written by the job of line 2 too"),
        (ONE + ", matrix: {size: [64, 128]}}", 2, "is written by another job of this entry too"),
        (ONE + ", matrix: {limit: [1m]}}", 2, "matrix: unknown key 'limit'"),
        (ONE + ", after: dawn}", 2, "no entry has the id 'dawn'"),
        (ONE + ", id: a, after: a}", 2, "a circle"),
        (ONE + ", id: a}\n" + ONE[6:].replace("o.mp4", "p.mp4") + ", id: a}", 3, "the id 'a' is taken by line 2"),
        (ONE + ", controls: {hed: 1}}", 2, "unknown key 'hed'; did you mean 'head'?"),
        (ONE + ", controls: no.yaml}", 2, "no.yaml: no such controls"),
        (ONE + ", background: pinkish}", 2, "pinkish"),
        (ONE + ", full_frame: true, size: 128}", 2, "a full frame keeps its own"),
        ("jobs:\n- {kind: build, source: clip.mp4, output: c.avatar, recipe: {size: 100}}", 2, "'size'"),
        ("jobs:\n- {kind: build, source: clip.mp4, output: c.bin}", 2, "must end in .avatar"),
        (
            "jobs:\n- {kind: preprocess, video: clip.mp4, output: c.take}\n"
            "- {kind: build, source: clip.mp4, output: c.avatar}",
            3,
            "c.take is written by the job of line 2 too",
        ),
        (
            "jobs:\n- {kind: motion, avatar: anna.avatar, speech: one.wav, output: m.mp4}",
            2,
            ".motion or .csv, not '.mp4'",
        ),
        (
            "jobs:\n- {kind: render, avatar: anna.avatar, take: night, output: r.mp4, frames_dir: f, fps: 50}",
            2,
            "frames are named by those of the Take; leave fps out",
        ),
        (
            "jobs:\n- {kind: build, source: clip.mp4, output: c.avatar, recipe: {renderer: clay}}",
            2,
            "'clay' is unknown",
        ),
        ("jobs: []", 1, "the list `jobs` is empty"),
        ("jobs:\n- [1]", 2, "must be `key: value` lines"),
        ("defaults: {speak: {sise: 1}}\njobs: []", 1, "defaults, speak: unknown key 'sise'; did you mean 'size'?"),
        ("defaults:\n  speak: {size: 3}\n" + ONE + "}", 1, "size: input should be"),
        ("jobs:\n- {kind: speak", 3, "is not YAML"),
        ("jbos:\n- {kind: speak}", 1, "has no list `jobs`"),
    ],
)
def test_every_problem_has_its_line(folder: Path, text: str, line: int, words: str) -> None:
    try:
        found = problems(folder, text)
    except UserError as error:
        found = [str(error).removeprefix(f"{folder / 'jobs.yaml'}:")]
    assert len(found) == 1, found
    assert found[0].startswith(f"{line}: "), found
    assert words in found[0]


def test_all_problems_are_reported_at_once(folder: Path) -> None:
    assert len(problems(folder, ONE + ", sise: 3}\n" + ONE[6:].replace("anna", "nobody") + "}")) == 2


def test_a_circle_names_its_jobs(folder: Path) -> None:
    text = """
jobs:
- {id: a, kind: speak, avatar: anna.avatar, speech: one.wav, output: a.mp4, after: c}
- {id: b, kind: speak, avatar: anna.avatar, speech: one.wav, output: b.mp4, after: a}
- {id: c, kind: speak, avatar: anna.avatar, speech: b.mp4, output: c.mp4}
"""
    (found,) = problems(folder, text)
    assert found.startswith("3: ")
    for name in ("a.mp4 waits for c.mp4", "c.mp4 waits for b.mp4", "b.mp4 waits for a.mp4"):
        assert name in found


def test_a_file_of_100k_lines_is_read(folder: Path) -> None:
    entry = {"kind": "speak", "avatar": "anna.avatar", "speech": "one.wav"}
    lines = "\n".join(json.dumps(entry | {"output": f"films/{index}.mp4"}) for index in range(100_000))
    plan, wrong = make_plan(write(folder, lines, "jobs.jsonl"))
    assert not wrong
    assert len(plan.jobs) == 100_000
    with pytest.raises(UserError, match=r"jobs.jsonl:100001: is not JSON"):
        make_plan(write(folder, lines + "\n{,", "jobs.jsonl"))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    for name in ("jobs.yaml", "jobs.jsonl"):
        (folder / name).write_bytes(data)
        with contextlib.suppress(UserError):
            plan, wrong = make_plan(folder / name)
            assert wrong or plan.jobs


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 300) | st.text("ab*{}[/:.", max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["avatar", "size", "x"]), inner),
    max_leaves=5,
)
KEYS = ["kind", "avatar", "speech", "output", "matrix", "after", "id", "limit", "size", "controls", "cpus", "nonsense"]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6), max_size=3))
def test_any_entries_are_read_or_have_problems(tmp_path_factory: pytest.TempPathFactory, entries: list[dict]) -> None:
    folder = tmp_path_factory.mktemp("entries")
    entries = [entry | {"kind": "speak"} if index % 2 else entry for index, entry in enumerate(entries)]
    plan, wrong = make_plan(write(folder, json.dumps({"jobs": entries})))
    assert wrong or plan.jobs


def test_jobs_survive_json(folder: Path) -> None:
    job = read_batch(write(folder, ONE + ", cpus: 2, memory: 3, controls: {head: {0: 1, 2.5: 0}}}")).jobs[0]
    assert job.need == Need(2, 3.0)
    back = from_json(json.loads(json.dumps(job.to_json())))
    assert back.need == job.need
    assert back.inputs == job.inputs
    assert address(back, Digests(lambda *_: "", lambda *_: None)) == address(
        job, Digests(lambda *_: "", lambda *_: None)
    )


def test_schema_is_that_of_the_files_it_describes() -> None:
    found = schema()
    assert found["$defs"]["Speak"]["required"] == ["kind"]
    assert set(found["$defs"]) >= {"Preprocess", "Build", "Speak", "Render", "Motion", "Evaluate"}
    assert found["properties"]["jobs"]["items"]["discriminator"]["propertyName"] == "kind"


def addresses(folder: Path, text: str) -> list[str]:
    digests = Digests(lambda *_: "", lambda *_: None)
    return [address(job, digests) for job in read_batch(write(folder, text)).jobs]


def test_the_address_is_of_content_not_of_names_or_shares(folder: Path) -> None:
    (first,) = addresses(folder, ONE + "}")
    assert addresses(folder, ONE + ", cpus: 2, limit: 1m, id: x}") == [first]
    (folder / "same.avatar").write_text("anna.avatar")
    assert addresses(folder, ONE.replace("anna", "same") + "}") == [first]
    assert addresses(folder, ONE + ", size: 128}") != [first]
    assert addresses(folder, ONE.replace("o.mp4", "o.mov") + "}") != [first]
    (folder / "one.wav").write_text("something else")
    assert addresses(folder, ONE + "}") != [first]


def test_a_changed_output_is_seen(tmp_path: Path) -> None:
    file, tree = tmp_path / "film.mp4", tmp_path / "frames"
    file.write_text("film")
    tree.mkdir()
    (tree / "0.png").write_text("a")
    outputs = {"output": str(file), "page": str(tree)}
    made = {place: [fingerprint(place), digest(place)] for place in outputs.values()}
    assert unchanged(made, outputs)
    os.utime(file, (1, 1))
    assert unchanged(made, outputs), "another time, the same content"
    (tree / "0.png").write_text("b")
    assert not unchanged(made, outputs)
    (tree / "0.png").write_text("a")
    assert unchanged(made, outputs)
    file.unlink()
    assert not unchanged(made, outputs)


class Room:
    """An engine's room: for jobs that need so many cores at most."""

    def __init__(self, cores: int, loaded: list[str]) -> None:
        self.cores, self.loaded = cores, loaded

    def loaded_models(self) -> list[str]:
        return self.loaded

    def room_for(self, job: Job) -> bool:
        return (job.need.cpus or 1) <= self.cores


def test_the_scheduler_prefers_loaded_avatars_and_else_the_order(folder: Path) -> None:
    text = """
jobs:
- {kind: speak, avatar: [anna.avatar, bert.avatar], speech: [one.wav, two.wav], output: "{avatar}_{speech}.mp4"}
- {kind: speak, avatar: anna.avatar, speech: one.wav, output: big.mp4, cpus: 8}
"""
    plan, _ = make_plan(write(folder, text))
    scheduler = Scheduler(plan)
    bert = str(folder / "bert.avatar")
    taken = [scheduler.next(Room(1, loaded)) for loaded in ([], [bert], [bert], [], [])]  # type: ignore[arg-type]
    assert [job and job.id for job in taken] == [
        "anna_one.mp4",
        "bert_one.mp4",
        "bert_two.mp4",
        "anna_two.mp4",
        None,
    ]
    assert (last := scheduler.next(Room(8, [])))  # type: ignore[arg-type]
    assert last.id == "big.mp4"


@given(st.text(min_size=1, max_size=300))
def test_every_job_has_a_log_of_its_own(name: str) -> None:
    path = log_path(Path("/x"), name)
    assert path.parent == Path("/x/logs")
    assert len(path.name.encode()) < 255
    assert path != log_path(Path("/x"), name + "'")
