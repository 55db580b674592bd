"""Which units of a chain are alike and keep their shape, so that one layer can hold them all.

A run is a unit that comes several times in a row, alike but for the rates at which its parts are
dropped: a `Repeat`, or what `transforms.stochastic` made of one. A `Stack` is a run at its place
in the chain; from it follow the paths that its layers have when they are written out, one by one
(standard library only).
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
    """`times` units of one kind behind each other in the chain called `path`.

    `shape` is what goes in and comes out. `seen` counts the steps of the chain before them, by
    kind. `rates` holds, for each part of the unit that drops something, the rate in every unit.
    """

    unit: Part
    times: int
    path: str
    shape: Shape
    seen: Mapping[str, int] = field(default_factory=dict)
    rates: tuple[tuple[float, ...], ...] = ()

    @property
    def name(self) -> str:
        """`conv2_x_units2_to_111`: no leaf is of that kind, so no path is called so."""
        first = self.seen.get("", 0) + 1
        units = sum(not isinstance(step, Leaf) for step in unroll(self.unit))
        if units != 1:  # a chain of leaves: it goes by how many came before
            return f"{self.path}_stack{sum(self.seen.values()) + 1}_of_{self.times}"
        return f"{self.path}_units{first}_to_{first + self.times - 1}"

    def written_out(self) -> Iterator[Part]:
        """The units, each with its own rates."""
        for i in range(self.times):
            yield with_rates(self.unit, [each[i] for each in self.rates])

    def traverse(self, x: Edge, visit: Visit) -> Edge:
        """Send x through every unit, as `spec.traverse` does."""
        seen = Counter(self.seen)
        for unit in self.written_out():
            x = traverse(unit, x, self.path, visit, seen)
        return x

    @cached_property
    def leaves(self) -> tuple[tuple[Leaf, str, Shape], ...]:
        """Those of the first unit, in order of computation, with path and input shape."""
        found: list[tuple[Leaf, str, Shape]] = []

        def visit(leaf: Leaf, path: str, inputs: tuple[Edge, ...], out: Shape) -> None:
            found.append((leaf, path, inputs[0].shape))

        traverse(self.unit, Edge(self.shape), self.path, visit, Counter(self.seen))
        return tuple(found)

    @cached_property
    def paths(self) -> tuple[tuple[str, ...], ...]:
        """Unit by unit, the paths of its leaves, in the order of `leaves`."""
        n, found = len(self.leaves), [path for _, path in self._all]
        return tuple(tuple(found[i * n : i * n + n]) for i in range(self.times))

    @cached_property
    def drops(self) -> dict[str, tuple[float, ...]]:
        """The rate in every unit, by the path in the first, of leaves that drop something."""
        n = len(self.leaves)
        return {
            path: tuple(each.rate for each, _ in self._all[i::n])  # type: ignore[attr-defined]
            for i, (leaf, path, _) in enumerate(self.leaves)
            if isinstance(leaf, Dropout | StochasticDepth)
        }

    @cached_property
    def _all(self) -> list[tuple[Leaf, str]]:
        found: list[tuple[Leaf, str]] = []
        self.traverse(Edge(self.shape), lambda leaf, path, inputs, out: found.append((leaf, path)))
        return found

    @cached_property
    def variables(self) -> tuple[tuple[int, str], ...]:
        """What one layer holds for all units: (position in `leaves`, name), trainable ones first,
        then statistics and states of random generators."""
        trainable, other = [], []
        for i, (leaf, _, shape) in enumerate(self.leaves):
            trainable += [(i, name) for name in leaf.weights(shape)]
            other += [(i, name) for name in leaf.state(shape)]
            if isinstance(leaf, Dropout | StochasticDepth) and leaf.rate > 0:
                other.append((i, "seed_generator_state"))
        return (*trainable, *other)

    def address(self, unit: int, leaf: int, name: str) -> str:
        """`conv3_x_4_body_conv1/kernel`: where the variable would be, were the unit written out."""
        return f"{self.paths[unit][leaf]}/{name}"

    def encode(self) -> dict[str, Any]:
        """As JSON; `decode` reads it."""
        return {
            "unit": serialize.encode(self.unit),
            "times": self.times,
            "path": self.path,
            "shape": list(axes(self.shape, "channels_last")),
            "seen": dict(self.seen),
            "rates": [list(each) for each in self.rates],
        }


def decode(data: Mapping[str, Any]) -> Stack:
    """What `Stack.encode` wrote; raises UserError for anything else."""
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
    """The unit with these rates on what it drops, in the order of `rates_of`."""
    left = iter(rates)

    def dropping(part: Part) -> Part:
        drops = isinstance(part, Dropout | StochasticDepth)
        return replace(part, rate=next(left)) if drops else part  # type: ignore[type-var]

    return rewrite(unit, dropping) if rates else unit


def rates_of(unit: Part) -> list[float]:
    found: list[float] = []

    def look(part: Part) -> Part:
        if isinstance(part, Dropout | StochasticDepth):
            found.append(part.rate)
        return part

    rewrite(unit, look)
    return found


def chain(part: Part, x: Edge, path: str, visit: Visit, stacked: Any = None) -> Edge:
    """Send x through the part as `spec.traverse` does; where units can be stacked, `stacked(stack,
    x)` says what is made of x instead. It may be None: then all is written out."""
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
    """The units as one stack, where they keep the shape and hold weights."""
    weights: list[bool] = []
    if not all(map(serialize.is_built_in, leaves(units[0]))):
        return None  # how a user's layer initialises its variables is not known

    def visit(leaf: Leaf, path: str, inputs: tuple[Edge, ...], out: Shape) -> None:
        weights.append(bool(leaf.weights(inputs[0].shape)))

    end = traverse(units[0], Edge(shape), path, visit, Counter(seen))
    if end.shape != shape or not any(weights):
        return None
    if isinstance(shape, Maps):  # what the image's stride was does not matter to the units
        shape = replace(shape, stride=1)
    rates = tuple(zip(*(rates_of(unit) for unit in units), strict=True))
    return Stack(units[0], len(units), path, shape, dict(seen), rates)


def _runs(part: Part) -> Iterator[tuple[list[Part], bool]]:
    """The chain as runs of units that are alike but for their rates; a leaf that no `Repeat` holds
    makes no run."""
    for (_, alike), same in groupby(_units(part), key=lambda each: (each[1], each[2])):
        yield [unit for unit, _, _ in same], alike


def _units(part: Part) -> Iterator[tuple[Part, Part, bool]]:
    """Each unit of the chain, with what it has in common with those like it, and whether it may
    stand in a stack."""
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
    """A rate of 0 stays: such a part draws nothing, and has no generator."""
    return with_rates(unit, [0.5 if rate > 0 else 0.0 for rate in rates_of(unit)])


def stacks(network: Network, aux: bool = False) -> list[Stack]:
    """All that can be stacked in the network."""
    found: list[Stack] = []
    value = Edge(input_maps(network))
    for row, part, is_aux in iter_rows(network, aux):
        end = chain(part, value, row, lambda *_: None, lambda stack, _: found.append(stack))
        value = value if is_aux else end
    return found


def kept(network: Network) -> int | None:
    """How many numbers of one image are kept for the way back where all that can be is stacked
    and rematerialised: those of single layers, what goes into every unit, and the layers of one
    unit, the largest. None where the size is open."""
    single: list[Shape] = []
    units: list[list[Shape]] = []

    def visit(leaf: Leaf, path: str, inputs: tuple[Edge, ...], out: Shape) -> None:
        single.append(out)

    def stacked(stack: Stack, made: Any) -> None:
        single.extend([stack.shape] * stack.times)
        outs: list[Shape] = []
        units.append(outs)
        start = Edge(stack.shape)
        traverse(stack.unit, start, stack.path, lambda leaf, path, inputs, out: outs.append(out))

    value = Edge(input_maps(network))
    for row, part, is_aux in iter_rows(network, aux=True):
        end = chain(part, value, row, visit, stacked)
        value = value if is_aux else end
    kept, largest = summary.total(single), [summary.total(outs) for outs in units]
    if kept is None or None in largest:
        return None
    return kept + max((n or 0 for n in largest), default=0)
