"""Find equal consecutive units that keep their shape, so that one layer can hold all of them.

Such units come from a `Repeat`, or from `transforms.stochastic` applied to one: they may differ in
the rates at which their parts are dropped. A `Stack` holds the units and their position in the
chain, so it knows the layer paths that the units have when they are written out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from typing import Any

from reslab.core.errors import UserError
from reslab.spec import serialize, summary
from reslab.spec.leaf import Leaf
from reslab.spec.network import (
    Concat,
    Edge,
    Network,
    Part,
    Repeat,
    Residual,
    Visit,
    input_maps,
    iter_rows,
    leaves,
    traverse,
    unroll,
)
from reslab.spec.parts import Dropout, StochasticDepth
from reslab.spec.shapes import Maps, Shape, Vector, axes
from reslab.spec.transforms import rewrite


@dataclass(frozen=True)
class Stack:
    """Equal consecutive units of the chain with this path.

    `shape` is that of the input and of the output. `seen` counts the earlier steps of the chain by
    kind. `rates` has, for each part that drops something, its rate in every unit.
    """

    unit: Part
    times: int
    path: str
    shape: Shape
    seen: Mapping[str, int] = field(default_factory=dict)
    rates: tuple[tuple[float, ...], ...] = ()

    @property
    def name(self) -> str:
        """The name of the layer, such as "conv2_x_units2_to_111": no layer path looks like it."""
        first = self.seen.get("", 0) + 1
        units = sum(not isinstance(step, Leaf) for step in unroll(self.unit))
        if units != 1:  # a chain of leaves: name it by its position
            return f"{self.path}_stack{sum(self.seen.values()) + 1}_of_{self.times}"
        return f"{self.path}_units{first}_to_{first + self.times - 1}"

    def written_out(self) -> Iterator[Part]:
        """List the units, each with its own rates."""
        for i in range(self.times):
            yield with_rates(self.unit, [each[i] for each in self.rates])

    def traverse(self, x: Edge, visit: Visit) -> Edge:
        """Visit the layers of every unit, as `spec.traverse` does."""
        counts = Counter(self.seen)
        for unit in self.written_out():
            x = traverse(unit, x, self.path, visit, counts)
        return x

    @cached_property
    def leaves(self) -> tuple[tuple[Leaf, str, Shape], ...]:
        """The leaves of the first unit, in order of computation, with path and input shape."""
        layers: list[tuple[Leaf, str, Shape]] = []

        def visit(leaf: Leaf, path: str, inputs: tuple[Edge, ...], out: Shape) -> None:
            layers.append((leaf, path, inputs[0].shape))

        traverse(self.unit, Edge(self.shape), self.path, visit, Counter(self.seen))
        return tuple(layers)

    @cached_property
    def paths(self) -> tuple[tuple[str, ...], ...]:
        """For each unit, the paths of its leaves in the order of `leaves`."""
        n, paths = len(self.leaves), [path for _, path in self._all]
        return tuple(tuple(paths[i * n : i * n + n]) for i in range(self.times))

    @cached_property
    def drops(self) -> dict[str, tuple[float, ...]]:
        """The rate in every unit of each leaf that drops something, by its path in the first."""
        n = len(self.leaves)
        return {
            path: tuple(each.rate for each, _ in self._all[i::n])  # type: ignore[attr-defined]
            for i, (leaf, path, _) in enumerate(self.leaves)
            if isinstance(leaf, Dropout | StochasticDepth)
        }

    @cached_property
    def _all(self) -> list[tuple[Leaf, str]]:
        layers: list[tuple[Leaf, str]] = []
        self.traverse(Edge(self.shape), lambda leaf, path, inputs, out: layers.append((leaf, path)))
        return layers

    @cached_property
    def variables(self) -> tuple[tuple[int, str], ...]:
        """The variables of one unit as (position in `leaves`, name).

        Trainable ones come first, then running statistics and states of random generators.
        """
        trainable, other = [], []
        for i, (leaf, _, shape) in enumerate(self.leaves):
            trainable += [(i, name) for name in leaf.weights(shape)]
            other += [(i, name) for name in leaf.state(shape)]
            if isinstance(leaf, Dropout | StochasticDepth) and leaf.rate > 0:
                other.append((i, "seed_generator_state"))
        return (*trainable, *other)

    def address(self, unit: int, leaf: int, name: str) -> str:
        """The name that the variable has when the units are written out.

        For example "conv3_x_4_body_conv1/kernel".
        """
        return f"{self.paths[unit][leaf]}/{name}"

    def encode(self) -> dict[str, Any]:
        """Return the stack as JSON holds it; `decode` reads it."""
        return {
            "unit": serialize.encode(self.unit),
            "times": self.times,
            "path": self.path,
            "shape": list(axes(self.shape, "channels_last")),
            "seen": dict(self.seen),
            "rates": [list(each) for each in self.rates],
        }


def decode(data: Mapping[str, Any]) -> Stack:
    """Return the stack that `Stack.encode` wrote; raises UserError for anything else."""
    try:
        size = tuple(data["shape"])
        return Stack(
            serialize.decode(data["unit"]),
            int(data["times"]),
            str(data["path"]),
            Vector(*size) if len(size) == 1 else Maps(*size),
            {str(kind): int(n) for kind, n in data["seen"].items()},
            tuple(tuple(float(rate) for rate in each) for each in data["rates"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"not the description of stacked units: {error}") from None


def with_rates(unit: Part, rates: list[float]) -> Part:
    """Set the rates of the parts that drop something, in the order of `rates_of`."""
    remaining = iter(rates)

    def set_rate(part: Part) -> Part:
        drops = isinstance(part, Dropout | StochasticDepth)
        return replace(part, rate=next(remaining)) if drops else part  # type: ignore[type-var]

    return rewrite(unit, set_rate) if rates else unit


def rates_of(unit: Part) -> list[float]:
    """The rates of the parts of a unit that drop something."""
    rates: list[float] = []

    def collect(part: Part) -> Part:
        if isinstance(part, Dropout | StochasticDepth):
            rates.append(part.rate)
        return part

    rewrite(unit, collect)
    return rates


def traverse_stacked(part: Part, x: Edge, path: str, visit: Visit, stacked: Any = None) -> Edge:
    """Traverse a part as `spec.traverse` does, but let a function compute stacks.

    Where units can be stacked, `stacked(stack, x)` returns the result for all of them. With None,
    all units are written out.
    """
    if stacked is None:
        return traverse(part, x, path, visit)
    seen: Counter[str] = Counter()
    for units, alike in _runs(part):
        left = units
        while left:
            if alike and len(left) > 1 and (stack := _stack(left, x.shape, path, seen)):
                x = Edge(x.shape, stacked(stack, x.result))
                seen += Counter(_steps(stack))
                break
            x = traverse(left[0], x, path, visit, seen)
            left = left[1:]
    return x


def _steps(stack: Stack) -> dict[str, int]:
    kinds = [step.kind if isinstance(step, Leaf) else "" for step in unroll(stack.unit)]
    return {kind: n * stack.times for kind, n in Counter(kinds).items()}


def _stack(units: list[Part], shape: Shape, path: str, seen: Counter[str]) -> Stack | None:
    """The units as one stack; None unless they keep the shape and have weights."""
    weights: list[bool] = []
    if not all(map(serialize.is_built_in, leaves(units[0]))):
        return None  # how a user's layer initialises its variables is not known

    def visit(leaf: Leaf, path: str, inputs: tuple[Edge, ...], out: Shape) -> None:
        weights.append(bool(leaf.weights(inputs[0].shape)))

    end = traverse(units[0], Edge(shape), path, visit, Counter(seen))
    if end.shape != shape or not any(weights):
        return None
    if isinstance(shape, Maps):  # the units do not depend on the stride from the image
        shape = replace(shape, stride=1)
    rates = tuple(zip(*(rates_of(unit) for unit in units), strict=True))
    return Stack(units[0], len(units), path, shape, dict(seen), rates)


def _runs(part: Part) -> Iterator[tuple[list[Part], bool]]:
    """Group consecutive units that differ in rates alone; tell whether they may be stacked."""
    for (_, alike), same in groupby(_units(part), key=lambda each: (each[1], each[2])):
        yield [unit for unit, _, _ in same], alike


def _units(part: Part) -> Iterator[tuple[Part, Part, bool]]:
    """Each unit of the chain, the key that equal units share, and whether it may be stacked.

    A single leaf may be stacked only if it is in a `Repeat`.
    """
    if isinstance(part, tuple):
        for each in part:
            yield from _units(each)
    elif isinstance(part, Repeat):
        inner = tuple(unroll(part.part))
        unit = inner[0] if len(inner) == 1 else inner
        if inner:
            yield from [(unit, _without_rates(unit), True)] * part.times
    else:
        yield part, _without_rates(part), isinstance(part, Residual | Concat)


def _without_rates(unit: Part) -> Part:
    """The unit with a common rate. A rate of 0 stays: such a part has no random generator."""
    return with_rates(unit, [0.5 if rate > 0 else 0.0 for rate in rates_of(unit)])


def stacks(network: Network, aux: bool = False) -> list[Stack]:
    """List the stacks of a network."""
    all_stacks: list[Stack] = []
    value = Edge(input_maps(network))
    for row, part, is_aux in iter_rows(network, aux):
        end = traverse_stacked(
            part, value, row, lambda *_: None, lambda stack, _: all_stacks.append(stack)
        )
        value = value if is_aux else end
    return all_stacks


def kept_activations(network: Network) -> int | None:
    """Count the activations of one image that the backward pass needs with stacking and remat.

    These are the outputs of single layers, the input of every stacked unit, and the layers of the
    largest unit, which is recomputed. None where the size is open.
    """
    single: list[Shape] = []
    units: list[list[Shape]] = []

    def visit(leaf: Leaf, path: str, inputs: tuple[Edge, ...], out: Shape) -> None:
        single.append(out)

    def stacked(stack: Stack, result: Any) -> None:
        single.extend([stack.shape] * stack.times)
        outs: list[Shape] = []
        units.append(outs)
        start = Edge(stack.shape)
        traverse(stack.unit, start, stack.path, lambda leaf, path, inputs, out: outs.append(out))

    value = Edge(input_maps(network))
    for row, part, is_aux in iter_rows(network, aux=True):
        end = traverse_stacked(part, value, row, visit, stacked)
        value = value if is_aux else end
    kept = summary.count_numbers(single)
    largest = [summary.count_numbers(outs) for outs in units]
    if kept is None or None in largest:
        return None
    return kept + max((n or 0 for n in largest), default=0)
