"""Downloads are encrypted and have a known checksum, unless a person waives that."""

from __future__ import annotations

import hashlib
import io
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reslab.core.errors import UserError
from reslab.data.sources import cifar, download, idx, web
from reslab.spec.catalogue import Remote
from reslab.weights import registry
from tests.helpers.web import Server, certificate, served

BODY = b"some bytes" * 1000
SHA256 = hashlib.sha256(BODY).hexdigest()
MD5 = hashlib.md5(BODY).hexdigest()
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate")


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RESLAB_OFFLINE", raising=False)


@pytest.fixture
def plain() -> Iterator[Server]:
    with served() as server:
        server.files["/file.gz"] = BODY
        yield server


@pytest.fixture(scope="session")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def encrypted(pem: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server whose certificate this process trusts."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pem.with_name("certificate.pem")))
    with served(pem) as server:
        server.files["/file.gz"] = BODY
        yield server


def remote(server: Server, *sha256: str, md5: str = "") -> Remote:
    return Remote("file.gz", f"{server.address}/file.gz", sha256, md5)


@needs_openssl
def test_a_file_arrives_whole(encrypted: Server, tmp_path: Path, capsys) -> None:
    path = download.fetch(remote(encrypted, "00ff" * 16, SHA256), tmp_path / "in")
    assert path == tmp_path / "in" / "file.gz"
    assert path.read_bytes() == BODY
    assert "file.gz" in capsys.readouterr().err  # the progress bar
    assert list(path.parent.iterdir()) == [path]


@needs_openssl
@pytest.mark.parametrize("known", [{"sha256": (SHA256[:8],)}, {"md5": MD5}])
def test_first_digits_and_md5_are_checked(encrypted: Server, tmp_path: Path, known) -> None:
    file = Remote("file.gz", f"{encrypted.address}/file.gz", **known)
    assert download.fetch(file, tmp_path).read_bytes() == BODY
    encrypted.files["/file.gz"] = BODY + b"!"
    with pytest.raises(UserError, match=f"it has .*{next(iter(known))}"):
        download.fetch(file, tmp_path / "again")


@needs_openssl
@pytest.mark.parametrize("waived", [False, True])
def test_a_wrong_checksum_is_always_refused(encrypted, tmp_path: Path, waived: bool) -> None:
    with web.insecure(waived), pytest.raises(UserError) as raised:
        download.fetch(remote(encrypted, "00ff" * 16), tmp_path / "in")
    message = str(raised.value)
    assert message.startswith(f"cannot download file.gz (it has sha256 {SHA256})")
    assert "sha256 00ff" in message
    assert list((tmp_path / "in").iterdir()) == []


@needs_openssl
def test_a_download_that_ends_too_early_leaves_nothing(encrypted, tmp_path: Path) -> None:
    encrypted.cut.add("/file.gz")
    with pytest.raises(UserError, match="ended too early") as raised:
        download.fetch(remote(encrypted, SHA256), tmp_path / "in")
    assert "\n" not in str(raised.value)
    assert list((tmp_path / "in").iterdir()) == []


@needs_openssl
def test_an_unknown_checksum_is_refused_before_the_request(encrypted, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"checksum of file.gz .* is not known.*--insecure"):
        download.fetch(remote(encrypted), tmp_path / "in")
    assert encrypted.requests == []


@needs_openssl
def test_a_file_of_an_insecure_download_stays_insecure(encrypted, tmp_path: Path, caplog) -> None:
    file = remote(encrypted)
    with web.insecure():
        path = download.fetch(file, tmp_path)
        assert download.verify(path, file) == path
    assert "is not verified" in caplog.text
    with pytest.raises(UserError, match="was downloaded with --insecure"):
        download.verify(path, file)
    download.verify(path, remote(encrypted, SHA256))  # known in the meantime
    path.with_name("file.gz.insecure").unlink()  # as if a person had put the file there
    assert download.verify(path, file) == path


def test_an_address_without_tls_is_refused_before_the_request(plain, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not encrypted: .*--insecure"):
        download.fetch(remote(plain, SHA256), tmp_path / "in")
    assert plain.requests == []
    with web.insecure():
        assert download.fetch(remote(plain, SHA256), tmp_path).read_bytes() == BODY


@needs_openssl
def test_a_redirect_to_an_address_without_tls_is_not_followed(encrypted, plain, tmp_path) -> None:
    encrypted.redirects["/file.gz"] = f"{plain.address}/file.gz"
    with pytest.raises(UserError, match=r"leads to http://.*not encrypted.*--insecure"):
        download.fetch(remote(encrypted, SHA256), tmp_path / "in")
    assert plain.requests == []
    assert list((tmp_path / "in").iterdir()) == []
    encrypted.redirects["/file.gz"] = "/elsewhere"
    encrypted.files["/elsewhere"] = BODY
    assert download.fetch(remote(encrypted, SHA256), tmp_path).read_bytes() == BODY
    encrypted.redirects["/file.gz"] = f"{plain.address}/file.gz"
    with web.insecure():
        assert download.fetch(remote(encrypted, SHA256), tmp_path / "b").read_bytes() == BODY


@needs_openssl
def test_a_certificate_that_nobody_vouches_for(encrypted, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(UserError, match=r"certificate of the server is not valid.*--insecure"):
        download.fetch(remote(encrypted, SHA256), tmp_path / "in")
    assert encrypted.requests == []
    with web.insecure():
        assert download.fetch(remote(encrypted, SHA256), tmp_path).read_bytes() == BODY


def test_no_network_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{free.getsockname()[1]}/file.gz"
        with pytest.raises(UserError, match="no connection") as raised:
            download.fetch(Remote("file.gz", url, (SHA256,)), tmp_path / "in")
    message = str(raised.value)
    assert "\n" not in message
    for word in ("file.gz", url, SHA256, str(tmp_path / "in")):
        assert word in message


def test_insecure_blocks_nest() -> None:
    with web.insecure():
        with web.insecure(False):
            assert web.is_waived()
        assert web.is_waived()
    assert not web.is_waived()


def test_every_published_file_is_encrypted_and_has_a_checksum() -> None:
    remotes = [r for s in idx.SETS.values() for r in s.files]
    remotes += [s.archive for s in cifar.SETS.values()]
    assert len(remotes) > 10
    assert all(len(digits) == 64 for r in remotes for digits in r.sha256)
    for name, versions in registry.TORCHVISION.items():
        found = (registry.find(name, f"torchvision/{version}") for version in versions)
        remotes += [published.file for published in found if published]
    found = (registry.find(name, "keras/imagenet") for name in registry.KERAS)
    remotes += [published.file for published in found if published]
    for each in remotes:
        assert each.url.startswith("https://")
        assert each.url.endswith(each.name)
        assert each.is_verifiable
        digits = "".join((*each.sha256, each.md5))
        assert len(digits) >= 8
        assert set(digits) <= set("0123456789abcdef")
        assert all(len(checksum) in (8, 64) for checksum in each.sha256)


class TestPictures:
    """`reslab.predict` takes the address of a picture, where the encrypted connection suffices."""

    @pytest.fixture
    def pixels(self) -> np.ndarray:
        return np.random.default_rng(0).integers(0, 255, (8, 8, 3)).astype(np.uint8)

    @pytest.fixture
    def png(self, pixels: np.ndarray) -> bytes:
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "PNG")
        return out.getvalue()

    @needs_openssl
    def test_a_picture_within_a_limit(self, encrypted, plain, png, pixels, monkeypatch) -> None:
        from reslab.evaluation import inputs as module

        encrypted.files["/a.png"] = plain.files["/a.png"] = png
        address = f"{encrypted.address}/a.png"
        (image,) = module.inputs(address)
        np.testing.assert_array_equal(np.asarray(Image.open(image.open())), pixels)
        with pytest.raises(UserError, match="404 Not Found"):
            module.inputs(f"{encrypted.address}/b.png")
        encrypted.redirects["/to"] = f"{plain.address}/a.png"
        with pytest.raises(UserError, match="leads to http"):
            module.inputs(f"{encrypted.address}/to")
        assert plain.requests == []
        monkeypatch.setattr(module, "MOST_BYTES", 10)
        with pytest.raises(UserError, match="download it first"):
            module.inputs(address)

    def test_a_picture_without_tls(self, plain, png, pixels) -> None:
        from reslab.evaluation.inputs import inputs

        plain.files["/a.png"] = png
        address = f"{plain.address}/a.png"
        with pytest.raises(UserError, match=r"not encrypted: .*https://, or add --insecure"):
            inputs(address)
        assert plain.requests == []
        with web.insecure():
            (image,) = inputs(address)
        np.testing.assert_array_equal(np.asarray(Image.open(image.open())), pixels)
