"""What every part that computes something has in common, and where a layer of it is built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from reslab.core.errors import UserError
from reslab.spec.fields import OneOf, Positive, Seed, check_fields
from reslab.spec.shapes import Maps, Shape, Vector


@dataclass(frozen=True)
class Init:
    """Initialise kernels by variance scaling: the standard deviation is sqrt(scale / fan).

    Args:
        scale: Numerator of the variance.
        mode: "fan_in", "fan_out" or "fan_avg": inputs, outputs or their mean.
        distribution: "untruncated_normal", "truncated_normal" or "uniform".
        seed: An integer gives all kernels of one shape the same values. None draws a new seed for
            each layer.
    """

    scale: Positive = 2.0
    mode: Annotated[str, OneOf(("fan_in", "fan_out", "fan_avg"))] = "fan_out"
    distribution: Annotated[str, OneOf(("untruncated_normal", "truncated_normal", "uniform"))] = (
        "untruncated_normal"
    )
    seed: Seed = None

    def __post_init__(self) -> None:
        check_fields(self)


HE = Init(mode="fan_in")  # He 2015, "Delving Deep into Rectifiers", eq. 10
HE_OUT = Init()  # eq. 14, over the outputs, as in the authors' released Torch code
GLOROT = Init(1.0, "fan_avg", "uniform")
# U(-1/sqrt(n), 1/sqrt(n)): Torch's default for fully connected layers
LINEAR = Init(1 / 3, "fan_in", "uniform")


@dataclass(frozen=True)
class Site:
    """Say where in a network the Keras layer of a part is built.

    Args:
        path: The layer path, such as "conv3_x_4_body_conv1". It is the name of the layer.
        in_shapes: The shape of each input, of one image.
        out_shape: The shape of the output, of one image.
        data_format: "channels_last" or "channels_first".
    """

    path: str
    in_shapes: tuple[Shape, ...]
    out_shape: Shape
    data_format: str

    @property
    def channel_axis(self) -> int:
        """The axis of the channels in a batch: -1, or 1 for maps in channels_first."""
        vector = isinstance(self.out_shape, Vector)
        return -1 if vector or self.data_format == "channels_last" else 1


class Leaf:
    """One layer of a network: the base class of `Conv`, `BN` and all other single layers.

    A subclass is a frozen dataclass. It overrides the methods whose defaults do not fit: by
    default a layer keeps the shape, has no weights and costs no multiply-adds.
    `reslab.spec.register` shows how to write a part of your own.
    """

    def __post_init__(self) -> None:
        check_fields(self)

    def layer_count(self) -> int:
        """How many layers it is, for the limit of a network."""
        return 1

    @property
    def kind(self) -> str:
        """The word for this layer in a layer path: "conv" in "conv3_x_4_body_conv1"."""
        return type(self).__name__.lower()

    @property
    def label(self) -> str:
        """The text for this layer in tables and pictures. By default the kind."""
        return self.kind

    def out_shape(self, *in_shapes: Shape) -> Shape:
        """Compute the shape of the output for one image.

        Args:
            in_shapes: The shape of the input; of both paths, body first, where the part joins
                the two paths of a `Residual`.

        Returns:
            The shape of the output. By default that of the first input.

        Raises:
            UserError: The part cannot take these inputs. The message gets the layer path in front.
        """
        return in_shapes[0]

    def weights(self, in_shape: Shape) -> dict[str, tuple[int, ...]]:
        """Name the trainable variables and their shapes.

        Args:
            in_shape: The shape of the (first) input.

        Returns:
            Shapes by Keras's variable names, such as {"kernel": (3, 3, 64, 128)}. Kernels of
            convolutions are (height, width, inputs, outputs).
        """
        return {}

    def state(self, in_shape: Shape) -> dict[str, tuple[int, ...]]:
        """Name the variables that training updates without a gradient, as `weights` does."""
        return {}

    def multiply_adds(self, in_shape: Shape, out_shape: Shape) -> int | None:
        """Count the multiply-adds of one forward pass of one image.

        As in the papers, only convolutions and fully connected layers count. A part that overrides
        this method counts as a layer in the depth of a network.

        Args:
            in_shape: The shape of the (first) input.
            out_shape: The shape of the output.

        Returns:
            The number. None where the size of the maps is open.
        """
        return 0

    def keras_layer(self, site: Site) -> Any:
        """Make the Keras layer that computes this part; only parts that users write need it.

        Args:
            site: The layer path, the shapes, and the order of the axes.

        Returns:
            A `keras.layers.Layer` with the name `site.path` and the variables that `weights` and
            `state` name. It is called with one tensor; with a list where there are several inputs.
        """
        name = type(self).__name__
        raise UserError(f"{site.path}: no model can be built: {name} has no method keras_layer")


def require_maps(part: Leaf, shape: Shape) -> Maps:
    """The shape, if it is one of feature maps; raises UserError for a vector."""
    if not isinstance(shape, Maps):
        raise UserError(f"{type(part).__name__} takes maps, not {shape}")
    return shape
