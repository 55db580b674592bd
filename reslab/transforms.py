"""Functions from network to network: `plain(net)`, `without_bn(net)`, `stochastic(net)`."""

from reslab.spec.transforms import headless as headless
from reslab.spec.transforms import plain as plain
from reslab.spec.transforms import rewrite as rewrite
from reslab.spec.transforms import stochastic as stochastic
from reslab.spec.transforms import transform as transform
from reslab.spec.transforms import with_classes as with_classes
from reslab.spec.transforms import without_bn as without_bn
from reslab.spec.transforms import without_skips as without_skips
