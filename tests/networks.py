"""Small networks for the tests: everything the paper's has, at a size that runs in a millisecond."""

from __future__ import annotations

from goturn.architecture import LRN, Architecture, Conv, Match, MaxPool, Preprocessing, fc_head


def tiny(
    *,
    shared_towers: bool = True,
    pool_first: bool = True,
    hidden: int = 2,
    reduce: int = 0,
    match: bool = False,
    **preprocessing: object,
) -> Architecture:
    """A network of the paper's kinds of layers: 35-pixel crops, 6 to 10 channels, fc width 16.

    With ``reduce`` it has a 1x1 convolution conv6 of so many channels at the tower's end, with ``match``
    a match beside the features.
    """
    stage = (MaxPool("pool1"), LRN("norm1"))
    return Architecture(
        tower=(
            Conv("conv1", 6, kernel=5, stride=2),
            *(stage if pool_first else stage[::-1]),
            Conv("conv2", 8, kernel=3, pad=1, groups=2, init_bias=1.0),
            Conv("conv3", 10, kernel=3, pad=1),
            MaxPool("pool5"),
            *([Conv("conv6", reduce, kernel=1)] if reduce else []),
        ),
        head=fc_head([16] * hidden),
        preprocessing=Preprocessing(**{"input_size": 35, **preprocessing}),  # type: ignore[arg-type]
        shared_towers=shared_towers,
        match=Match() if match else None,
    )
