"""The data sets that reslab knows by name: contents and published files.

The sha256 of the files are those of TensorFlow Datasets (`url_checksums/`).

Standard library only, so that `reslab list` does not load NumPy. `reslab.data` reads them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Remote:
    """A published file.

    `sha256` has the checksum of every published build, or its first digits. `md5` is used only
    where the publisher gives no sha256.
    """

    name: str
    url: str
    sha256: tuple[str, ...] = ()
    md5: str = ""

    @property
    def checksum(self) -> str:
        """The checksum as text: "sha256 0676ba61..." or "md5 8d4f..."."""
        if self.md5 and not self.sha256:
            return f"md5 {self.md5}"
        return f"sha256 {self.sha256[0] if self.sha256 else 'not known'}"

    @property
    def is_verifiable(self) -> bool:
        """Whether a checksum is known."""
        return bool(self.sha256 or self.md5)


_DIGITS = tuple("0123456789")
_UPPER = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_LOWER = tuple("abcdefghijklmnopqrstuvwxyz")
CHARACTERS = _DIGITS + _UPPER + _LOWER  # the order of EMNIST ByClass
_MERGED = _DIGITS + _UPPER + tuple("abdefghnqrt")  # small letters that look unlike their capitals
_FASHION = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


@dataclass(frozen=True)
class IdxSet:
    """A data set in IDX files: sizes of the training and the test set, and the published files."""

    title: str
    classes: tuple[str, ...]
    train: int
    test: int
    files: tuple[Remote, ...]  # the four IDX files, or EMNIST's one zip
    folder: str
    prefix: str = ""  # of the names of the IDX files
    first: int = 0  # label of the first class in the files
    mirrors: bool = False  # whether a mirrored image keeps its class


def _four(base: str, *sha256: tuple[str, ...]) -> tuple[Remote, ...]:
    names = [
        f"{part}-{kind}-ubyte.gz"
        for part in ("train", "t10k")
        for kind in ("images-idx3", "labels-idx1")
    ]
    return tuple(Remote(n, base + n, s) for n, s in zip(names, sha256, strict=True))


# The authors' repository at one commit; their own server has no TLS.
FASHION = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/"
    "b2617bb6d3ffa2e429640350f613e3291e10b141/data/fashion/"
)
EMNIST_ZIP = Remote(
    "gzip.zip",
    "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",
    ("fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e",),
)


def _emnist(split: str, classes: tuple[str, ...], train: int, test: int, first: int = 0) -> IdxSet:
    title = f"EMNIST {split}: {train + test:,} handwritten characters, {len(classes)} classes"
    return IdxSet(title, classes, train, test, (EMNIST_ZIP,), "emnist", f"emnist-{split}", first)


IDX: dict[str, IdxSet] = {
    "mnist": IdxSet(
        "MNIST: 70,000 handwritten digits, 28x28 grey",
        _DIGITS,
        60_000,
        10_000,
        _four(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            ("440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",),
            ("3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",),
            ("8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",),
            ("f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",),
        ),
        "mnist",
    ),
    "fashion-mnist": IdxSet(
        "Fashion-MNIST: 70,000 articles of clothing, 28x28 grey",
        _FASHION,
        60_000,
        10_000,
        _four(
            FASHION,
            # The authors' files, then Debian's, which were compressed again.
            (
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
            ),
            (
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
            ),
            (
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
            ),
            (
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
            ),
        ),
        "fashion-mnist",
        mirrors=True,
    ),
    "emnist-byclass": _emnist("byclass", CHARACTERS, 697_932, 116_323),
    "emnist-bymerge": _emnist("bymerge", _MERGED, 697_932, 116_323),
    "emnist-balanced": _emnist("balanced", _MERGED, 112_800, 18_800),
    "emnist-letters": _emnist("letters", _UPPER, 124_800, 20_800, first=1),
    "emnist-digits": _emnist("digits", _DIGITS, 240_000, 40_000),
    "emnist-mnist": _emnist("mnist", _DIGITS, 60_000, 10_000),
}


# CIFAR ------------------------------------------------------------------------------------------

_CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck"
_CIFAR100 = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup
dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower
leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid
otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray
road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
wardrobe whale willow_tree wolf woman worm
"""


@dataclass(frozen=True)
class CifarSet:
    """A data set in CIFAR's binary files."""

    title: str
    classes: tuple[str, ...]
    label_bytes: int  # the last one is the label
    folder: str  # inside the archive
    train: tuple[str, ...]
    test: str
    records: dict[str, int]
    archive: Remote


def _kriz(name: str, sha256: str) -> Remote:
    return Remote(name, f"https://www.cs.toronto.edu/~kriz/{name}", (sha256,))


_TEN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))

CIFAR: dict[str, CifarSet] = {
    "cifar10": CifarSet(
        "CIFAR-10: 60,000 photographs, 32x32 colour",
        tuple(_CIFAR10.split()),
        1,
        "cifar-10-batches-bin",
        _TEN,
        "test_batch.bin",
        {**dict.fromkeys(_TEN, 10_000), "test_batch.bin": 10_000},
        _kriz(
            "cifar-10-binary.tar.gz",
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        ),
    ),
    "cifar100": CifarSet(
        "CIFAR-100: 60,000 photographs, 32x32 colour, 100 fine classes",
        tuple(_CIFAR100.split()),
        2,
        "cifar-100-binary",
        ("train.bin",),
        "test.bin",
        {"train.bin": 50_000, "test.bin": 10_000},
        _kriz(
            "cifar-100-binary.tar.gz",
            "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        ),
    ),
}


def sources() -> list[tuple[str, str]]:
    """List the names that `reslab.data.load` accepts, each with one line about the data."""
    names = [
        ("glyphs", "62 characters in 40 typefaces, 28x28 grey, test type never seen; built in")
    ]
    names += [(name, s.title) for name, s in IDX.items()]
    names += [(name, s.title) for name, s in CIFAR.items()]
    names.append(("FOLDER", "a path: class folders of images, IDX files, or CIFAR's .bin files"))
    return names
