"""What a writer puts into a file: the graph of the whole model, and its card."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from reslab import __version__
from reslab.engines.exported import CARD
from reslab.engines.graph import Graph
from reslab.engines.onnx_proto import proto
from reslab.formats import int8, whole
from reslab.formats.exportable import Exportable


@dataclass(frozen=True)
class Form:
    """How a model is exported.

    Attributes:
        fixed_size: Images of the size of the model only: no resizing and cropping inside.
        maps: A second output with the class activation maps.
        int8: Weights and activations in eight bits.
    """

    fixed_size: bool = False
    maps: bool = False
    int8: bool = False


@dataclass(frozen=True)
class Content:
    """A model in a form, for the writers of all formats."""

    source: Exportable
    form: Form

    @cached_property
    def card(self) -> dict[str, Any]:
        """The classes and all else that a user of the file has to know; JSON-serialisable."""
        return {
            **self.source.card,
            "any_size": not self.form.fixed_size,
            "exported_by": f"reslab {__version__}",
        }

    @property
    def metadata(self) -> dict[str, str]:
        """The texts for the metadata of a file, by name."""
        return {CARD: json.dumps(self.card, ensure_ascii=False)}

    @cached_property
    def network(self) -> Graph:
        """What the model takes to probabilities (`whole.network`)."""
        return whole.network(self.source, self.form.maps)

    @cached_property
    def view(self) -> Graph:
        """Pictures to what the model takes (`whole.view`)."""
        return whole.view(self.source, self.form.fixed_size)

    @cached_property
    def onnx(self) -> bytes:
        """The ONNX file, with the card in its metadata."""
        from onnx import helper

        model, view = proto(self.network), proto(self.view)
        if self.form.int8:
            model = int8.quantised(model, self.source)
        graph = helper.make_graph(
            [*view.graph.node, *model.graph.node],
            model.graph.name,
            view.graph.input,
            model.graph.output,
            [*view.graph.initializer, *model.graph.initializer],
        )
        model.graph.CopyFrom(graph)
        helper.set_model_props(model, self.metadata)
        return bytes(model.SerializeToString())

    @cached_property
    def view_onnx(self) -> bytes:
        """The view alone as an ONNX file."""
        return bytes(proto(self.view).SerializeToString())
