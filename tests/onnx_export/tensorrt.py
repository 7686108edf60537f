"""What TensorRT's ONNX parser asks of a graph, as far as the graph itself shows it.

From the operator table of the parser (onnx-tensorrt, `docs/operators.md`, TensorRT 10): the operators that it imports,
the types of tensors, and that a ConvTranspose wants constant weights; of Conv it takes others only without groups.
"""

from __future__ import annotations

import onnx

OPERATORS = frozenset(
    """
    Abs Add And ArgMax ArgMin Atan AveragePool BatchNormalization Cast Ceil Clip Concat Constant ConstantOfShape Conv
    ConvTranspose Cos CumSum DepthToSpace Div Dropout Einsum Elu Equal Erf Exp Expand Flatten Floor Gather
    GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalMaxPool Greater GroupNormalization Identity
    InstanceNormalization LayerNormalization LeakyRelu Less Log MatMul Max MaxPool Mean Min Mul Neg Not OneHot Or PRelu
    Pad Pow RandomNormal RandomNormalLike RandomUniform RandomUniformLike Range Reciprocal ReduceL1 ReduceL2 ReduceMax
    ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize Round Shape Sigmoid Sign Sin Size
    Slice Softmax Softplus SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh Tile Transpose Unsqueeze Where
    """.split()
)
_TYPES = {
    getattr(onnx.TensorProto, name)
    for name in ("FLOAT", "FLOAT16", "BFLOAT16", "INT32", "INT64", "INT8", "UINT8", "BOOL")
}


def refused_by_tensorrt(model: onnx.ModelProto) -> list[str]:
    """Why the parser would refuse the model, a sentence per reason."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    reasons = [
        f"{tensor.name} is {tensor.data_type}" for tensor in constants.values() if tensor.data_type not in _TYPES
    ]
    producers = {name: node for node in model.graph.node for name in node.output}
    typed = onnx.shape_inference.infer_shapes(model).graph
    for info in [*typed.value_info, *typed.input, *typed.output]:
        if info.type.tensor_type.elem_type not in _TYPES:
            reasons.append(f"{info.name} is {info.type.tensor_type.elem_type}")
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
            reasons.append(f"{node.name}: operator {node.domain}.{node.op_type}")
        if node.op_type in ("Conv", "ConvTranspose"):
            reasons += _of_convolution(node, constants)
        if node.op_type in ("Reshape", "Expand", "Tile", "Slice", "Resize"):
            reasons += [
                f"{node.name}: {name} depends on data, and shapes may only depend on shapes"
                for name in node.input[1:]
                if not _is_shape(name, constants, producers)
            ]
    return reasons


def _of_convolution(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> list[str]:
    computed = [name for name in node.input[1:] if name not in constants]
    if computed:
        return [f"{node.name}: {computed[0]} is no constant"]
    groups = next((entry.i for entry in node.attribute if entry.name == "group"), 1)
    if groups != 1 and constants[node.input[1]].dims[1] != 1:
        return [f"{node.name}: {groups} groups that are not one per channel"]
    return []


def _is_shape(name: str, constants: dict[str, onnx.TensorProto], producers: dict[str, onnx.NodeProto]) -> bool:
    """True for what is computed from constants and from sizes alone: a shape tensor, in TensorRT's words."""
    if not name or name in constants:
        return True
    node = producers.get(name)
    if node is None:
        return False
    return node.op_type in ("Shape", "Size") or all(_is_shape(each, constants, producers) for each in node.input)
