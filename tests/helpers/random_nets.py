"""Random small networks, as Hypothesis strategies."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from reslab.spec import (
    BN,
    AvgPool,
    Concat,
    Conv,
    Dense,
    Dropout,
    GlobalAvgPool,
    MaxPool,
    Network,
    Part,
    ReLU,
    Repeat,
    Residual,
    ZeroPadShortcut,
)

CHANNELS = 4  # every part keeps the channels, so any sequence of parts fits


same_size = st.one_of(
    st.builds(
        Conv,
        st.just(CHANNELS),
        st.sampled_from([1, 3, 5]),
        groups=st.sampled_from([1, 2, 4]),
        bias=st.booleans(),
        dilation=st.sampled_from([1, 2]),
    ),
    st.builds(BN, epsilon=st.sampled_from([1e-5, 1e-3]), gamma=st.sampled_from([1.0, 0.0])),
    st.just(ReLU),
    st.builds(Dropout, st.just(0.25)),
    st.builds(MaxPool, st.just(3), st.just(1)),
    st.builds(AvgPool, st.just(3), st.just(1), st.just(1)),
)


shrinking = st.one_of(
    st.builds(
        Conv, st.just(CHANNELS), st.just(3), st.just(2), pad=st.sampled_from(["even", "same"])
    ),
    st.builds(MaxPool, st.just(3), st.just(2), pad=st.sampled_from(["even", "same"])),
    st.builds(AvgPool, st.just(2), st.just(2)),
)


def inside(part: st.SearchStrategy[Part]) -> st.SearchStrategy[Part]:
    """Return chains, residual units, branches and repeats of a strategy's parts."""
    chain = st.lists(part, max_size=3).map(tuple)
    residual = st.builds(
        Residual,
        body=chain,
        shortcut=st.just(Conv(CHANNELS, 1)),
        lead=st.sampled_from([(), (BN(), ReLU)]),
        tail=st.sampled_from([(), (ReLU,)]),
        when=st.sampled_from(["change", "always"]),
    )
    branches = st.lists(chain, min_size=1, max_size=3).map(
        lambda each: (Concat(tuple(each)), Conv(CHANNELS, 1))
    )
    return st.one_of(chain, residual, branches, st.builds(Repeat, residual, st.integers(0, 3)))


bodies = st.recursive(same_size, inside, max_leaves=8)


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """Draw a network with one or two shrinking rows, for images of 9 to 14 pixels."""
    option_a = Residual(Conv(2 * CHANNELS, 3, 2), ZeroPadShortcut(2 * CHANNELS, 2), tail=(ReLU,))
    rows: dict[str, Part] = {"stem": Conv(CHANNELS, 3)}
    for i in range(draw(st.integers(1, 2))):
        rows[f"row{i}"] = (draw(bodies), draw(shrinking))
    rows["last"] = (draw(bodies), draw(st.sampled_from([(), option_a])))
    rows["head"] = (GlobalAvgPool, Dense(draw(st.integers(2, 5))))
    size = draw(st.integers(9, 14)), draw(st.integers(9, 14))
    return Network("random", rows, (*size, draw(st.sampled_from([1, 3]))))


few = settings(
    max_examples=20,
    deadline=None,
    derandomize=True,  # the same networks on every machine, so that failures can be reproduced
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
