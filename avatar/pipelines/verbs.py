"""The verbs and their options: for the command line, job files and docs/options.md."""

from __future__ import annotations

from avatar.core.recipe import Settings
from avatar.pipelines.options import Build, Dub, Evaluate, Motion, Preprocess, Render, Say, Speak, Verb
from avatar.pipelines.present_options import Present

VERBS: dict[Verb, type[Settings]] = {
    "preprocess": Preprocess,
    "build": Build,
    "speak": Speak,
    "render": Render,
    "motion": Motion,
    "evaluate": Evaluate,
    "dub": Dub,
    "say": Say,
    "present": Present,
}
