"""Convert MediaPipe's networks to avatar/assets/face_networks.safetensors: python recipes/face_networks.py -o FILE

They are read from the wheel of mediapipe 0.10.21 (Apache-2.0), which must be installed. Weights keep their half
precision; the full-range detector's sparse ones are made dense. Nodes are those of `preprocess.networks.graph`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mediapipe
import numpy as np
import torch
from flatbuffers import flexbuffers
from mediapipe.tasks.metadata import schema_py_generated as schema
from safetensors.torch import save_file
from torch import Tensor

from avatar.core.files import UserError, check_writable, whole

VERSION = "0.10.21"
MODELS = {
    "face_mesh": "face_landmark/face_landmark_with_attention.tflite",
    "short_range": "face_detection/face_detection_short_range.tflite",
    "full_range": "face_detection/face_detection_full_range_sparse.tflite",
    "selfie": "selfie_segmentation/selfie_segmentation.tflite",
}
CODES = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
SAME = 0
TYPES = {
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.FLOAT16: np.float16,
    schema.TensorType.INT32: np.int32,
}

Array = np.ndarray


class Converter:
    """Turns the operators of one file into nodes and tensors."""

    def __init__(self, data: bytes) -> None:
        self._model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
        self._graph = self._model.subgraphs[0]
        self._same = {int(self._graph.inputs[0]): 0}  # value -> the value that it is, after operators that change none
        self._constants: dict[int, Array] = {}
        self._borders: dict[int, list[int]] = {}  # value -> pixels of zeros around it
        self.nodes: list[dict[str, Any]] = []
        self.tensors: dict[str, Tensor] = {}

    def run(self) -> list[int]:
        """Convert all; returns the numbers of the outputs."""
        for operator in self._graph.operators:
            code = self._model.operatorCodes[operator.opcodeIndex]
            name = (
                code.customCode.decode()
                if code.customCode
                else CODES[max(code.builtinCode, code.deprecatedBuiltinCode)]
            )
            if name not in CONVERSIONS:
                raise UserError(f"operator {name} is not known; use mediapipe {VERSION}")
            inputs, out = [int(i) for i in operator.inputs], int(operator.outputs[0])
            CONVERSIONS[name](self, inputs, out, operator)
        return [self._same.get(int(out), int(out)) for out in self._graph.outputs]

    def constant(self, index: int) -> Array | None:
        """The values of a tensor, if it has any that are stored."""
        if index in self._constants:
            return self._constants[index]
        tensor = self._graph.tensors[index]
        data = self._model.buffers[tensor.buffer].data
        if data is None:
            return None
        values = np.frombuffer(bytes(data), TYPES[tensor.type])
        return make_dense(values, tensor.shape, tensor.sparsity) if tensor.sparsity else values.reshape(tensor.shape)

    def add(
        self, op: str, inputs: list[int], out: int, parameters: Mapping[str, Array] | None = None, **settings: Any
    ) -> None:
        self.nodes.append({"op": op, "in": [self._same.get(i, i) for i in inputs], "out": out, "with": settings})
        for name, values in (parameters or {}).items():
            self.tensors[f"{out}.{name}"] = torch.from_numpy(np.array(values, np.float16, order="C"))

    def activate(self, out: int, operator: Any) -> None:
        """The activation that some operators carry."""
        if operator.builtinOptions.fusedActivationFunction == schema.ActivationFunctionType.RELU:
            self.add("relu", [out], -out)
            self._same[out] = -out

    def shape(self, index: int) -> list[int]:
        return [int(side) for side in self._graph.tensors[index].shape]

    def convolution(self, inputs: list[int], out: int, operator: Any) -> None:
        weight, bias = self.constant(inputs[1]), self.constant(inputs[2])
        stride = operator.builtinOptions.strideH
        depthwise = isinstance(operator.builtinOptions, schema.DepthwiseConv2DOptionsT)
        pad = self._borders.get(inputs[0], [0, 0, 0, 0])
        if operator.builtinOptions.padding == SAME:
            _, height, width, _ = self.shape(inputs[0])
            pad = [*_same_padding(width, weight.shape[2], stride), *_same_padding(height, weight.shape[1], stride)]
        order = (3, 0, 1, 2) if depthwise else (0, 3, 1, 2)
        parameters = {"weight": weight.transpose(order), "bias": bias}
        groups = weight.shape[3] if depthwise else 1
        self.add("convolution", inputs[:1], out, parameters, stride=stride, pad=pad, groups=groups)
        self.activate(out, operator)

    def transposed_convolution(self, inputs: list[int], out: int, operator: Any) -> None:
        weight = self.constant(inputs[1]).transpose(3, 0, 1, 2)
        self.add(
            "transposed_convolution", inputs[:1], out, {"weight": weight, "bias": self.constant(inputs[2])}, stride=2
        )

    def keep(self, inputs: list[int], out: int, operator: Any) -> None:
        """Dequantize and densify constants; a slice that takes all."""
        if (values := self.constant(inputs[0])) is not None:
            self._constants[out] = values
        else:
            self._same[out] = self._same.get(inputs[0], inputs[0])

    def pad(self, inputs: list[int], out: int, operator: Any) -> None:
        """Borders become the next convolution's, further channels the next addition's."""
        _, (top, bottom), (left, right), _ = self.constant(inputs[1]).tolist()
        self._same[out] = self._same.get(inputs[0], inputs[0])
        self._borders[out] = [left, right, top, bottom]

    def sum(self, inputs: list[int], out: int, operator: Any) -> None:
        self.add("add", inputs, out)
        self.activate(out, operator)

    def product(self, inputs: list[int], out: int, operator: Any) -> None:
        factor = self.constant(inputs[1])
        if factor is None:
            self.add("multiply", inputs, out)
            return
        if factor.shape == (1, 4, 4):  # of a matrix that has its first two rows here, and no third column
            factor = factor[:, :2][:, :, [0, 1, 3]]
        self.add("scale", inputs[:1], out, {"weight": factor})

    def rows(self, inputs: list[int], out: int, operator: Any) -> None:
        width = self.shape(out)[-1]
        if len(self.shape(inputs[0])) == 4:
            self.add("rows", inputs[:1], out, width=width)
        else:  # points, which are in rows already
            self._same[out] = self._same.get(inputs[0], inputs[0])

    def region(self, inputs: list[int], out: int, operator: Any) -> None:
        given = flexbuffers.GetRoot(bytes(operator.customOptions)).Value
        if given["scale_x"] != given["scale_y"] or given["target_rotation_radians"] != 0:
            raise UserError(f"a region of the face mesh is unlike those known; use mediapipe {VERSION}")
        level = [given["left_rotation_idx"], given["right_rotation_idx"]]
        settings = {"scale": given["scale_x"], "side": given["output_width"]}
        self.add("region", inputs, out, points_of=given["subset_idxs"], level=level, **settings)

    def resize(self, inputs: list[int], out: int, operator: Any) -> None:
        self.add("resize", inputs[:1], out, size=self.constant(inputs[1]).tolist())


def _same_padding(side: int, kernel: int, stride: int) -> list[int]:
    """Before and after, as TensorFlow's SAME has it."""
    total = max(0, (-(-side // stride) - 1) * stride + kernel - side)
    return [total // 2, total - total // 2]


def make_dense(values: Array, shape: Array, sparsity: Any) -> Array:
    """A tensor stored in blocks of which zero ones are left out: rows of blocks, compressed (CSR)."""
    order, blocks = sparsity.traversalOrder, sparsity.blockMap
    dense = np.zeros(int(np.prod(shape)), values.dtype)
    sides = [int(part.denseSize) for part in sparsity.dimMetadata]
    position = iter(values)
    strides = _strides(shape, order, blocks, sides)

    def fill(level: int, row: int, offset: int) -> None:
        if level == len(sides):
            dense[offset] = next(position)
            return
        part = sparsity.dimMetadata[level]
        if part.format == schema.DimensionType.DENSE:
            for index in range(sides[level]):
                fill(level + 1, row * sides[level] + index, offset + index * strides[level])
        else:
            segments, indices = part.arraySegments.values, part.arrayIndices.values
            for number in range(segments[row], segments[row + 1]):
                fill(level + 1, number, offset + int(indices[number]) * strides[level])

    fill(0, 0, 0)
    return dense.reshape(shape)


def _strides(shape: Array, order: Array, blocks: Array | None, sides: list[int]) -> list[int]:
    """How far apart, in the dense tensor, neighbours along each level of the stored one are."""
    rank = len(shape)
    plain = [int(np.prod(shape[axis + 1 :])) for axis in range(rank)]
    sizes = {int(axis): sides[level] for level, axis in enumerate(order) if axis >= rank}
    of_blocks = {int(axis): rank + number for number, axis in enumerate(blocks if blocks is not None else [])}
    strides = []
    for axis in map(int, order):
        if axis < rank:
            strides.append(plain[axis] * sizes.get(of_blocks.get(axis, -1), 1))
        else:
            strides.append(plain[int(blocks[axis - rank])])
    return strides


class LaneMerger:
    """Makes one node, of the channels of all, of those that do alike to lips, eyes and irises: a third of the calls.

    Such nodes are of one depth, operation and shape.
    """

    def __init__(self, nodes: list[dict[str, Any]], tensors: dict[str, Tensor]) -> None:
        self._old = nodes
        self._home: dict[int, tuple[int, int, int]] = {}  # value -> the merged one, its lane there, how many there are
        self._made: dict[tuple[Any, ...], int] = {}
        self._next = 1 + max(node["out"] for node in nodes)
        self.nodes: list[dict[str, Any]] = []
        self.tensors = dict(tensors)

    def run(self, outputs: list[int]) -> list[int]:
        """Merge all; returns the numbers of the outputs."""
        depth = {0: 0}
        groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
        for node in self._old:
            depth[node["out"]] = 1 + max(depth[value] for value in node["in"])
            groups.setdefault((depth[node["out"]], *self._likeness(node)), []).append(node)
        for key in sorted(groups, key=lambda key: key[0]):  # the depth alone: sorting keeps the order of the rest
            self._merge(groups[key]) if len(groups[key]) > 1 else self._keep(groups[key][0])
        return [self._alone(value) for value in outputs]

    def _likeness(self, node: dict[str, Any]) -> tuple[str, ...]:
        """Equal for nodes that can be merged."""
        shapes = [list(self.tensors[key].shape) for key in self._keys(node)]
        mixes = node["op"] == "convolution" and node["with"]["groups"] == 1
        if node["op"] not in ("convolution", "prelu", "add", "max_pool") or (mixes and shapes[0][2:] != [1, 1]):
            return (str(node["out"]),)
        return node["op"], json.dumps([node["with"], shapes])

    def _keys(self, node: dict[str, Any]) -> list[str]:
        return [key for part in ("weight", "bias") if (key := f"{node['out']}.{part}") in self.tensors]

    def _keep(self, node: dict[str, Any]) -> None:
        self.nodes.append(node | {"in": [self._alone(value) for value in node["in"]]})

    def _alone(self, value: int) -> int:
        if value not in self._home:
            return value
        merged, lane, count = self._home[value]
        return self._make("lanes", [merged], chosen=[lane], count=count)

    def _merge(self, nodes: list[dict[str, Any]]) -> None:
        inputs = [self._together(list(values)) for values in zip(*(node["in"] for node in nodes), strict=True)]
        first, count = nodes[0], len(nodes)
        settings = dict(first["with"])
        if first["op"] == "convolution":
            settings["groups"] *= count
        elif first["op"] == "add":
            settings["lanes"] = count
        together = {"weight": [], "bias": []}
        for node in nodes:
            for key in self._keys(node):
                together[key.split(".")[1]].append(self.tensors.pop(key))
        self.tensors |= {f"{first['out']}.{part}": torch.cat(parts) for part, parts in together.items() if parts}
        self.nodes.append({"op": first["op"], "in": inputs, "out": first["out"], "with": settings})
        self._home |= {node["out"]: (first["out"], lane, count) for lane, node in enumerate(nodes)}

    def _together(self, values: list[int]) -> int:
        """One value of all, lane by lane."""
        if not all(value in self._home for value in values):
            return self._make("join", [self._alone(value) for value in values])
        homes = [self._home[value] for value in values]
        merged, lanes, count = homes[0][0], [lane for _, lane, _ in homes], homes[0][2]
        return merged if lanes == list(range(count)) else self._make("lanes", [merged], chosen=lanes, count=count)

    def _make(self, op: str, inputs: list[int], **settings: Any) -> int:
        key = (op, *inputs, json.dumps(settings))
        if key not in self._made:
            self._made[key] = self._next
            self.nodes.append({"op": op, "in": inputs, "out": self._next, "with": settings})
            self._next += 1
        return self._made[key]


def _plain(op: str, **settings: Any) -> Callable[[Converter, list[int], int, Any], None]:
    return lambda converter, inputs, out, operator: converter.add(op, inputs, out, **settings)


CONVERSIONS: dict[str, Callable[[Converter, list[int], int, Any], None]] = {
    "CONV_2D": Converter.convolution,
    "DEPTHWISE_CONV_2D": Converter.convolution,
    "Convolution2DTransposeBias": Converter.transposed_convolution,
    "DEQUANTIZE": Converter.keep,
    "DENSIFY": Converter.keep,
    "STRIDED_SLICE": Converter.keep,
    "PAD": Converter.pad,
    "ADD": Converter.sum,
    "MUL": Converter.product,
    "PRELU": lambda converter, inputs, out, operator: converter.add(
        "prelu", inputs[:1], out, {"weight": converter.constant(inputs[1]).reshape(-1)}
    ),
    "RELU": _plain("relu"),
    "HARD_SWISH": _plain("hard_swish"),
    "LOGISTIC": _plain("sigmoid"),
    "MAX_POOL_2D": _plain("max_pool", side=2),
    "AVERAGE_POOL_2D": _plain("mean"),
    "RESIZE_BILINEAR": Converter.resize,
    "DEPTH_TO_SPACE": _plain("depth_to_space"),
    "RESHAPE": Converter.rows,
    "CONCATENATION": _plain("join"),
    "Landmarks2TransformMatrix": Converter.region,
    "TransformTensorBilinear": _plain("crop", side=16),
    "TransformLandmarks": _plain("move"),
}


def convert(folder: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and descriptions of all networks of mediapipe's folder of modules."""
    tensors, descriptions = {}, {"source": f"mediapipe {VERSION}, Apache-2.0; converted by recipes/face_networks.py"}
    for name, file in MODELS.items():
        converter = Converter((folder / file).read_bytes())
        outputs = converter.run()
        merger = LaneMerger(converter.nodes, converter.tensors)
        outputs = merger.run(outputs)
        descriptions[name] = json.dumps({"nodes": merger.nodes, "outputs": outputs}, separators=(",", ":"))
        tensors |= {f"{name}.{key}": tensor for key, tensor in merger.tensors.items()}
    return tensors, descriptions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args()
    try:
        if version("mediapipe") != VERSION:
            raise UserError(f"mediapipe {version('mediapipe')} is installed; its networks are others, use {VERSION}")
        check_writable(options.out)
        tensors, descriptions = convert(Path(mediapipe.__file__).parent / "modules")
    except UserError as error:
        sys.exit(str(error))
    with whole(options.out) as temporary:
        save_file(tensors, temporary, metadata=descriptions)


if __name__ == "__main__":
    main()
