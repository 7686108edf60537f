"""The channel of a discriminator that holds the standard deviation within the batch, as a graph for any batch.

Groups of samples have no fixed size when the batch is free. So the members of a group are written as a matrix: row n
has 1 / size for each sample of n's group. Times the samples it is the mean of each one's group, and times the squared
distances from it the variance.
"""

from __future__ import annotations

import numpy as np

from eqlr_tools.networks.progan_discriminator import Form
from eqlr_tools.onnx_export.graph import Graph


def with_deviation(graph: Graph, x: str, seen: str, form: Form) -> str:
    """`x`, which has 4x4 pixels, with one more channel: the deviation of `seen`."""
    channel = (_of_groups if form.group_size else _of_batch)(graph, seen, form)
    return graph.node("Concat", [x, channel], "deviation", axis=1)


def _of_batch(graph: Graph, seen: str, form: Form) -> str:
    samples = _samples(graph, seen)
    mean = graph.reduce("ReduceMean", seen, [0], "deviation/mean")
    variance = graph.reduce("ReduceMean", _square(graph, seen, mean), [0], "deviation/variance")
    size = graph.cast(samples, np.float32, "deviation/size")
    root = _root(graph, variance, size, form)
    each = graph.reduce("ReduceMean", root, [1] if form.per_pixel else [1, 2, 3], "deviation/each")
    pixels = _integers(graph, "deviation.map", 1, 4, 4)
    shape = graph.node("Concat", [samples, pixels], "deviation/shape", axis=0)
    return graph.node("Expand", [each, shape], "deviation/channel")


def _of_groups(graph: Graph, seen: str, form: Form) -> str:
    samples = _samples(graph, seen)
    members, served = _groups(graph, samples, form)
    count = graph.cast(samples, np.float32, "deviation/samples_float")
    own = _matrix(graph, members, members, count, "deviation/members")
    flat = graph.node("Flatten", [seen], "deviation/flat", axis=1)
    mean = graph.node("MatMul", [own, flat], "deviation/mean")
    variance = graph.node("MatMul", [own, _square(graph, flat, mean)], "deviation/variance")
    share = graph.reduce("ReduceMax", own, [1], "deviation/share")
    size = graph.node("Reciprocal", [share], "deviation/size")
    each = graph.reduce("ReduceMean", _root(graph, variance, size, form), [1], "deviation/each")
    if form.handed_on:
        served_by = _matrix(graph, served, members, count, "deviation/served")
        each = graph.node("MatMul", [served_by, each], "deviation/handed_on")
    column = graph.reshape(each, [-1, 1, 1, 1], "deviation/column")
    return graph.node("Tile", [column, _integers(graph, "deviation.repeats", 1, 1, 4, 4)], "deviation/channel")


def _groups(graph: Graph, samples: str, form: Form) -> tuple[str, str]:
    """For each sample the group that it belongs to, and the group whose figure it gets."""
    none, one = _scalar(graph, "zero", 0), _scalar(graph, "one", 1)
    count = graph.node("Squeeze", [samples], "deviation/count")
    number = graph.node("Range", [none, count, one], "deviation/number")
    size = graph.node("Min", [count, _scalar(graph, "deviation.group", form.group_size)], "deviation/group")
    if not form.rest_alone:
        rest = _remainder(graph, count, size, "deviation/rest")
        even = graph.node("Equal", [rest, none], "deviation/even")
        size = graph.node("Where", [even, size, count], "deviation/whole")
    if form.consecutive:
        runs = graph.node("Div", [number, size], "deviation/runs")
        return runs, runs
    apart = graph.node("Div", [count, size], "deviation/apart")
    members = _remainder(graph, number, apart, "deviation/group_of")
    return members, graph.node("Div", [number, size], "deviation/runs") if form.handed_on else members


def _remainder(graph: Graph, value: str, divisor: str, name: str) -> str:
    """What is left over of a division; TensorRT's parser has no operator for it."""
    times = graph.node("Div", [value, divisor], f"{name}/times")
    return graph.node("Sub", [value, graph.node("Mul", [times, divisor], f"{name}/whole")], name)


def _matrix(graph: Graph, rows: str, columns: str, count: str, name: str) -> str:
    """1 / size where the group of the row is that of the column."""
    down = graph.reshape(rows, [-1, 1], f"{name}/down")
    across = graph.reshape(columns, [1, -1], f"{name}/across")
    same = graph.cast(graph.node("Equal", [down, across], f"{name}/equal"), np.float32, f"{name}/same")
    sums = graph.node("Mul", [graph.reduce("ReduceMean", same, [1], f"{name}/part"), count], f"{name}/sums")
    return graph.node("Div", [same, sums], name)


def _square(graph: Graph, seen: str, mean: str) -> str:
    away = graph.node("Sub", [seen, mean], "deviation/away")
    return graph.node("Mul", [away, away], "deviation/square")


def _root(graph: Graph, variance: str, size: str, form: Form) -> str:
    """The standard deviation; the unbiased one divides by a sample less, and a sample alone has none."""
    less = ""
    if form.unbiased:
        one = graph.constant("one.float", 1.0)
        less = graph.node("Sub", [size, one], "deviation/less")
        divisor = graph.node("Max", [less, one], "deviation/divisor")
        factor = graph.node("Div", [size, divisor], "deviation/factor")
        variance = graph.node("Mul", [variance, factor], "deviation/unbiased")
    if form.deviation_eps:
        eps = graph.constant("deviation.eps", form.deviation_eps)
        variance = graph.node("Add", [variance, eps], "deviation/variance_eps")
    root = graph.node("Sqrt", [variance], "deviation/root")
    if not less:
        return root
    present = graph.node("Min", [less, graph.constant("one.float", 1.0)], "deviation/present")
    return graph.node("Mul", [root, present], "deviation/root_or_none")


def _samples(graph: Graph, value: str) -> str:
    """The length of the batch, as a vector of one number."""
    shape = graph.node("Shape", [value], "deviation/sizes")
    return graph.node("Slice", [shape, *(_integers(graph, f"first.{n}", n) for n in (0, 1))], "deviation/samples")


def _integers(graph: Graph, name: str, *values: int) -> str:
    return graph.constant(name, np.array(values, dtype=np.int64))


def _scalar(graph: Graph, name: str, value: int) -> str:
    return graph.constant(name, np.array(value, dtype=np.int64))
