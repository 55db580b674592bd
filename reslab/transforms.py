"""Functions from description to description: `plain(net)`, `without_bn(net)`, `stochastic(net)`."""

from reslab.spec.transforms import *  # noqa: F403
