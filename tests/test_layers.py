"""The house rules as code: arrows point down, no cycles, heavy packages in their room, small files."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = {
    "cuda_ext": set(),
    "avatar.core": {"cuda_ext.shapes"},
    "preprocess": {"avatar.core", "cuda_ext.shapes"},
    "avatar.motion": {"avatar.core", "cuda_ext.shapes"},
    "avatar.render": {"avatar.core", "cuda_ext"},
    "avatar.metrics": {"avatar.core", "cuda_ext"},
    "avatar.pipelines": {"avatar.core", "cuda_ext", "preprocess", "avatar.motion", "avatar.render", "avatar.metrics"},
    "avatar.batch": {"avatar.core", "avatar.pipelines", "avatar.render", "preprocess", "cuda_ext"},
    "avatar": {"avatar", "preprocess", "cuda_ext"},
}
HEAVY = {
    "mediapipe": "preprocess",
    "cv2": "preprocess",
    "ffmpeg": "avatar.core.encode",
    "imageio_ffmpeg": "avatar.core.media",
    "pydantic": "avatar",
    "yaml": "avatar.core",
    "typer": "avatar.cli",
    "tqdm": "avatar.pipelines",
    "gsplat": "avatar.render",
    "tinycudann": "avatar.render.nerf",
    "nerfacc": "avatar.render.nerf",
    "transformers": "avatar.motion.hubert",
    "onnxruntime": "avatar.metrics.identity",
    "python_speech_features": "avatar.metrics.syncnet",
    "ray": "avatar.batch.cluster",
    "fsspec": "avatar.batch.storage",
    "sqlite3": "avatar.batch.journal",
    "rich": "avatar.cli.batch_table",
}
FORBIDDEN = (r"\bos\.system\(", r"shell=True", r"\btorch\.load\((?!.*weights_only=True)", r"\bpickle\b", r"\.cuda\(\)")


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
    assert all(inside(user, HEAVY[package]) for user in users), users


def test_files_are_small_and_plain() -> None:
    for name, path in sources().items():
        text = path.read_text()
        assert len(text.splitlines()) <= 400, f"{path} is over 400 lines"
        for pattern in FORBIDDEN:
            assert not re.search(pattern, text), f"{path}: {pattern}"
        if not inside(name, "avatar.cli"):
            assert not re.search(r"(?<![\w.])print\(", text), f"{path}: print("


def test_public_names_resolve_twice_to_the_same_object() -> None:
    import avatar

    for name in avatar.__all__:
        first = getattr(avatar, name)
        assert first is getattr(avatar, name), name
        assert callable(first), name
