"""The house rules as code: arrows point down, no cycles, heavy packages in their room, small files."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = {
    "cuda_ext": set(),
    "avatar.core": {"cuda_ext.limits", "cuda_ext.shapes"},
    "preprocess": {"avatar.core", "cuda_ext.limits", "cuda_ext.shapes"},
    "avatar.motion": {"avatar.core", "cuda_ext"},
    "avatar.render": {"avatar.core", "cuda_ext"},
    "avatar.voice": {"avatar.core"},
    "avatar.metrics": {"avatar.core", "cuda_ext"},
    "avatar.provenance": {"avatar.core"},
    "avatar.learn": {"avatar.core", "avatar.motion", "cuda_ext.limits", "cuda_ext.shapes"},
    "avatar.scene": {"avatar.core"},
    "avatar.play": {
        "avatar.core", "avatar.motion", "avatar.provenance", "avatar.render", "avatar.scene", "avatar.voice",
        "cuda_ext",
    },
    "avatar.presenter": {
        "avatar.core", "avatar.play", "avatar.provenance", "avatar.render", "avatar.scene", "avatar.voice", "cuda_ext",
    },
    "avatar.pipelines": {
        "avatar.core", "avatar.learn", "avatar.metrics", "avatar.motion", "avatar.play", "avatar.presenter",
        "avatar.provenance", "avatar.render", "avatar.scene", "avatar.voice", "cuda_ext", "preprocess",
    },
    "avatar.batch": {
        "avatar.core", "avatar.pipelines", "avatar.play", "avatar.provenance", "avatar.render", "avatar.scene",
        "cuda_ext", "preprocess",
    },
    "avatar.serve": {
        "avatar.core", "avatar.motion", "avatar.play", "avatar.provenance", "avatar.render", "avatar.scene",
        "avatar.voice", "cuda_ext",
    },
    "avatar.studio": {
        "avatar.core", "avatar.batch", "avatar.motion", "avatar.pipelines", "avatar.play", "avatar.presenter",
        "avatar.provenance", "avatar.scene", "avatar.serve", "avatar.voice", "cuda_ext", "preprocess",
    },
    "avatar.cli": {
        "avatar.core", "avatar.batch", "avatar.learn", "avatar.pipelines", "avatar.play", "avatar.provenance",
        "avatar.render", "avatar.serve", "avatar.studio", "cuda_ext.limits", "preprocess",
    },
    "avatar": set(),  # public names are resolved on first use
}  # fmt: skip
HEAVY: dict[str, str | tuple[str, ...]] = {
    "mediapipe": "preprocess.mediapipe_detector",
    "cv2": ("preprocess", "avatar.scene.surroundings"),
    "OpenEXR": "avatar.scene.surroundings",
    "pi_heif": "preprocess.photo_files",
    "ffmpeg": "avatar.core.encode",
    "imageio_ffmpeg": "avatar.core.media_command",
    "pydantic": "avatar",
    "yaml": "avatar.core",
    "typer": "avatar.cli",
    "tqdm": "avatar.cli.bars",
    "soxr": "avatar.play.sound",
    "gsplat": "avatar.render",
    "tinycudann": "avatar.render.nerf",
    "nerfacc": "avatar.render.nerf",
    "transformers": "avatar.motion.hubert",
    "onnxruntime": ("avatar.metrics.identity", "avatar.voice.graph"),
    "hibari": "avatar.voice",
    "vaderSentiment": "avatar.voice",
    "python_speech_features": "avatar.metrics.syncnet",
    "ray": "avatar.batch.cluster",
    "fsspec": "avatar.batch.storage",
    "sqlite3": ("avatar.batch.journal", "avatar.provenance.log"),
    "pptx": "avatar.presenter",
    "pypdfium2": "avatar.presenter",
    "betteroffice_pptx": "avatar.presenter",
    "rich": "avatar.cli.batch_table",
    "c2pa": "avatar.provenance",
    "cryptography": "avatar.provenance",
    "starlette": ("avatar.serve", "avatar.studio"),
    "uvicorn": ("avatar.serve", "avatar.studio"),
    "aiortc": "avatar.serve",
    "av": "avatar.serve",
    "livekit": "avatar.serve.adapters.livekit",
    "pipecat": "avatar.serve.adapters.pipecat",
}
FORBIDDEN = (r"\bos\.system\(", r"shell=True", r"\btorch\.load\((?!.*weights_only=True)", r"\bpickle\b", r"\.cuda\(\)")
ONLY_IN = {
    r"\bset_num_threads\(": (
        "avatar.core.threads", "avatar.learn.corpus", "avatar.learn.pretrain", "avatar.batch.work",
    ),
    r"\bis_grad_enabled\(": ("cuda_ext",),
    r"\bsys\.exit\(": ("avatar.cli",),
    r"\bcpu_count\(": ("cuda_ext.limits",),  # the machine's cores, which a container may not use
}  # fmt: skip
"""What only some modules may do. Those of learn and batch run in processes of their own."""
MOST_LINES, MOST_IN_FUNCTION, MOST_ARGUMENTS = 400, 60, 8
OLD_NAMES = re.compile(
    r"habits?|wishes|foreman|lessons?|teach|taught|hear|heard|hearing|listen|listens|told|tell|practi[sc]e|mood|boldness"
    r"|relieve|perceived?|gather|pace|judge"
)
"""Words that stood for terms of the field before docs/glossary.md did."""


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources() -> dict[str, Path]:
    found = [path for top in ("avatar", "preprocess", "cuda_ext") for path in (ROOT / top).rglob("*.py")]
    return {module_name(path): path for path in found}


def imports(path: Path) -> set[str]:
    """Every imported module, imports inside functions counted too; TYPE_CHECKING blocks are not run, so left out."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room_of(module: str) -> str:
    rooms = [room for room in ROOMS if module == room or module.startswith(room + ".")]
    return max(rooms, key=len)


def inside(module: str, room: str) -> bool:
    return module == room or module.startswith(room + ".")


def test_arrows_point_down() -> None:
    wrong = []
    for module, path in sources().items():
        room = room_of(module)
        for target in imports(path):
            if target.split(".")[0] not in ("avatar", "preprocess", "cuda_ext"):
                continue
            if inside(target, room) and room != "avatar":
                continue
            if not any(inside(target, allowed) for allowed in ROOMS[room]) and target != "cuda_ext":
                wrong.append(f"{module} -> {target}")
    assert not wrong


def test_no_cycles() -> None:
    modules = sources()
    graph = {name: {t for t in imports(path) if t in modules and t != name} for name, path in modules.items()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"cycle: {' -> '.join([*trail[trail.index(name) :], name])}"
        if name not in done:
            for target in graph[name]:
                visit(target, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("package", sorted(HEAVY))
def test_heavy_packages_stay_in_their_room(package: str) -> None:
    users = {module for module, path in sources().items() if any(inside(name, package) for name in imports(path))}
    homes = (home,) if isinstance(home := HEAVY[package], str) else home
    assert all(any(inside(user, home) for home in homes) for user in users), users


def test_files_are_small_and_plain() -> None:
    for name, path in sources().items():
        text = path.read_text()
        assert len(text.splitlines()) <= MOST_LINES, f"{path} is over {MOST_LINES} lines"
        for pattern, homes in ONLY_IN.items():
            assert any(inside(name, home) for home in homes) or not re.search(pattern, text), f"{path}: {pattern}"
        for pattern in FORBIDDEN:
            assert not re.search(pattern, text), f"{path}: {pattern}"
        if not inside(name, "avatar.cli"):
            assert not re.search(r"(?<![\w.])print\(", text), f"{path}: print("


def test_functions_are_small() -> None:
    wrong = []
    for name, path in sources().items():
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            count = len(node.args.args) + len(node.args.kwonlyargs) + len(node.args.posonlyargs)
            count -= sum(argument.arg in ("self", "cls") for argument in node.args.args[:1])
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MOST_IN_FUNCTION or (count > MOST_ARGUMENTS and not inside(name, "avatar.cli")):
                wrong.append(f"{name}.{node.name}: {length} lines, {count} arguments")
    assert not wrong


def test_names_are_the_fields() -> None:
    wrong = set()
    for name, path in sources().items():
        for node in ast.walk(ast.parse(path.read_text())):
            defined = [node.name] if isinstance(node, (ast.FunctionDef, ast.ClassDef)) else []
            defined += [node.arg] if isinstance(node, ast.arg) else []
            defined += [node.id] if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) else []
            words = {word.lower() for one in defined for word in re.findall(r"[A-Za-z][a-z]*|[A-Z]+", one)}
            wrong |= {f"{name}: {word}" for word in words if OLD_NAMES.fullmatch(word)}
    assert not wrong


def test_public_names_resolve_twice_to_the_same_object() -> None:
    import avatar

    for name in avatar.__all__:
        first = getattr(avatar, name)
        assert first is getattr(avatar, name), name
        assert callable(first), name
