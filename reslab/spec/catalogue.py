"""The data sets that reslab knows by name: contents and published files.

Standard library only, so that `reslab list` does not load NumPy. `reslab.data` reads them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Remote:
    """A published file.

    `md5` has the checksum of every published build. Where there is none, `sha256` is the checksum
    of the file, or its first digits.
    """

    name: str
    url: str
    md5: tuple[str, ...] = ()
    sha256: str = ""

    @property
    def checksum(self) -> str:
        """The checksum as text: "md5 8d4f..." or "sha256 0676ba61..."."""
        return f"md5 {self.md5[0]}" if self.md5 else f"sha256 {self.sha256 or 'not known'}"


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


def _four(base: str, *md5: tuple[str, ...]) -> tuple[Remote, ...]:
    names = [
        f"{part}-{kind}-ubyte.gz"
        for part in ("train", "t10k")
        for kind in ("images-idx3", "labels-idx1")
    ]
    return tuple(Remote(n, base + n, m) for n, m in zip(names, md5, strict=True))


EMNIST_ZIP = Remote(
    "gzip.zip",
    "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",
    ("58c8d27c78d21e728a6bc7b3cc06412e",),
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
            ("f68b3c2dcbeaaa9fbdd348bbdeb94873",),
            ("d53e105ee54ea40749a09fcbcd1e9432",),
            ("9fb629c4189551a2d022fa330f9573f3",),
            ("ec29112dd5afa0611ce80d1b7f02629c",),
        ),
        "mnist",
    ),
    "fashion-mnist": IdxSet(
        "Fashion-MNIST: 70,000 articles of clothing, 28x28 grey",
        _FASHION,
        60_000,
        10_000,
        _four(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            # The authors' files, then Debian's, which were compressed again.
            ("8d4fb7e6c68d591d4c3dfef9ec88bf0d", "cf8536b0aa1a6ac5fa3f23001093305c"),
            ("25c81989df183df01b3e8a0aad5dffbe", "10bea18fdb374794d4bb42e356e600c9"),
            ("bef4ecab320f06d8554ea6380940ec79", "f78720b4224f21cce2f2ccf2d7a94c9a"),
            ("bb300cfdad3c16e7a12a480ee83cd310", "0d30e22e447f3c33dab9ed536400ac01"),
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


def _kriz(name: str, md5: str) -> Remote:
    return Remote(name, f"https://www.cs.toronto.edu/~kriz/{name}", (md5,))


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
        _kriz("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"),
    ),
    "cifar100": CifarSet(
        "CIFAR-100: 60,000 photographs, 32x32 colour, 100 fine classes",
        tuple(_CIFAR100.split()),
        2,
        "cifar-100-binary",
        ("train.bin",),
        "test.bin",
        {"train.bin": 50_000, "test.bin": 10_000},
        _kriz("cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8"),
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
