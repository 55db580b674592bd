"""Repeated units as one Keras layer with stacked variables: a thousand layers as a loop.

`Stacked` is the layer, `loops` how each backend runs it, `slices` how single layers are read and
written under the names that they have in a flat net.
"""

from reslab.stacked.layer import Stacked
from reslab.stacked.slices import Slice, assign, holders, read, variables

__all__ = ["Slice", "Stacked", "assign", "holders", "read", "variables"]
