"""Take the first layers out of a Whisper model: python recipes/whisper_layers.py FOLDER -o OUT.safetensors --digits 6

FOLDER holds `model.safetensors` as the `transformers` library keeps it; openai/whisper-tiny.en's for those of
avatar/assets. Another model, or number of layers, is another backbone: train the encoder again (recipes/a2m.md).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from avatar.core.deflate import shorten
from avatar.core.files import UserError, check_readable, check_writable, whole

LAYERS = 2
CONVOLUTIONS = {"first": "conv1", "second": "conv2"}
PARTS = {
    "norm": "self_attn_layer_norm",
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "out": "self_attn.out_proj",
    "wide_norm": "final_layer_norm",
    "widen": "fc1",
    "narrow": "fc2",
}


def take_layers(path: Path, layers: int, digits: int) -> dict[str, Tensor]:
    """Tensors of `avatar.motion.whisper.Whisper`, in half precision of so many binary digits, of a model's file.

    Raises: UserError when it is no Whisper model or has not that many layers.
    """
    check_readable(path, "Whisper model")
    names = dict(CONVOLUTIONS)
    for layer in range(layers):
        names |= {f"layers.{layer}.{ours}": f"layers.{layer}.{theirs}" for ours, theirs in PARTS.items()}
    taken = {}
    with safe_open(path, "pt") as file:
        stored = {name.split("encoder.")[1]: name for name in file.keys() if "encoder." in name}  # noqa: SIM118
        for ours, theirs in names.items():
            for kind in ("weight", "bias"):
                if f"{theirs}.{kind}" in stored:
                    taken[f"{ours}.{kind}"] = shorten(file.get_tensor(stored[f"{theirs}.{kind}"]), digits)
                elif ours.rpartition(".")[2] != "key" or kind == "weight":
                    raise UserError(f"{path}: has no encoder.{theirs}.{kind}; give a Whisper model of {layers} layers")
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument(
        "--digits", type=int, choices=range(11), default=10, help="binary, that weights keep; fewer deflate"
    )
    options = parser.parse_args()
    try:
        check_writable(options.out)
        taken = take_layers(options.folder / "model.safetensors", options.layers, options.digits)
    except UserError as error:
        sys.exit(str(error))
    with whole(options.out) as temporary:
        save_file(taken, temporary)


if __name__ == "__main__":
    main()
