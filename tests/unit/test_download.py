"""Downloads against a server on loopback that misbehaves, and unpacking."""

import hashlib
import os
import socket

import pytest
from helpers import refuses
from material import files_below, send, tar, whole, zipped

from asyrepro.data import download
from asyrepro.system.errors import DataError

BODY = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(BODY).hexdigest()
LIMIT = 1_000_000


def with_ranges(body=BODY, sent=None):
    """A server that supports Range, and cuts each answer after `sent` bytes."""

    def answer(handler):
        wanted = handler.headers.get("Range")
        if not wanted:
            return send(handler, 200, body, sent)
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start >= len(body):
            return send(handler, 416, b"", Content_Range=f"bytes */{len(body)}")
        last = len(body) - 1
        place = f"bytes {start}-{last}/{len(body)}"
        return send(handler, 206, body[start:], sent, Content_Range=place)

    return answer


def in_turn(*answers):
    left = list(answers)
    return lambda handler: (left.pop(0) if len(left) > 1 else left[0])(handler)


def fetch(server, path, digest=SHA256, max_bytes=LIMIT, url=None):
    def accept(file):
        download.expect(file, digest)

    return download.fetch(url or f"{server.address}/a", path, accept=accept, max_bytes=max_bytes)


# ------------------------------------------------------------------------------------ downloading


def test_wrong_checksum(server, tmp_path):
    server.answers["/a"] = whole(b"x" + BODY[1:])
    with refuses(DataError, "sha256"):
        fetch(server, tmp_path / "file")
    assert os.listdir(tmp_path) == []


def lying(handler):
    send(handler, 206, BODY, Content_Range="bytes 0-255999/256000")


def busy(handler):
    send(handler, 503, b"")


PARTS = {  # what an earlier process left, what the server does, and the places it is asked for
    "cut connections": (None, with_ranges(sent=100_000), [None, 100_000, 200_000]),
    "an earlier process's part": (BODY[:1000], with_ranges(), [1000]),
    "killed before the renaming": (BODY, with_ranges(), [len(BODY)]),
    "a part of another file": (b"of another file" * 100, with_ranges(), None),
    "a part that is too long": (BODY + b"too long", with_ranges(), None),
    "a server that resumes elsewhere": (BODY[:1000], in_turn(lying, whole(BODY)), None),
    "a server that ignores ranges": (BODY[:1000], whole(BODY), None),
    "a busy server": (None, in_turn(busy, busy, whole(BODY)), [None] * 3),
}


@pytest.mark.parametrize("name", PARTS)
def test_what_is_left_and_how_it_is_resumed(server, tmp_path, name):
    part, server.answers["/a"], places = PARTS[name]
    if part:
        (tmp_path / "file.part").write_bytes(part)
    assert fetch(server, tmp_path / "file").read_bytes() == BODY
    assert os.listdir(tmp_path) == ["file"]
    if places:
        assert server.log == [("/a", place and f"bytes={place}-") for place in places]


def test_server_that_always_cuts_at_the_same_byte(server, tmp_path):
    server.answers["/a"] = whole(BODY, sent=1000)
    with refuses(DataError, "127.0.0.1"):
        fetch(server, tmp_path / "file")
    assert len(server.log) == 1 + download.ATTEMPTS  # the first one brought something new
    assert not (tmp_path / "file").exists()


def test_no_such_file(server, tmp_path):
    with refuses(DataError, "127.0.0.1", "404"):
        fetch(server, tmp_path / "file")


def test_more_than_expected_is_refused(server, tmp_path):
    def endless(handler):  # no Content-Length: ends when the client goes away
        handler.send_response(200)
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(BODY)
        except OSError:
            pass

    for answer in (whole(BODY), endless):
        server.answers["/a"] = answer
        with refuses(DataError, "200,000"):
            fetch(server, tmp_path / "file", max_bytes=200_000)
        assert os.listdir(tmp_path) == []


def test_only_https_and_no_redirection_away_from_it(server, tmp_path):
    server.answers["/a"] = lambda handler: send(handler, 302, b"", Location="http://example.com/")
    for url in (None, "http://example.com/", "file:///etc/passwd", "ftp://a/b"):
        with refuses(DataError, "https"):
            fetch(server, tmp_path / "file", url=url)
    assert len(server.log) == 1


def test_a_host_that_cannot_be_reached_is_asked_once(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "PAUSE_SECONDS", 1000.0)  # would be noticed
    asked = []

    def refuse(host, *_):
        asked.append(host)
        raise socket.gaierror("no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for url in ("https://one.test/a", "https://one.test/b", "https://two.test/a"):
        with refuses(DataError, url.split("/")[2]):
            fetch(server, tmp_path / "new" / "file", url=url)
    assert asked == ["one.test", "two.test"]
    assert os.listdir(tmp_path / "new") == []


def test_full_disk(server, tmp_path, monkeypatch):
    server.answers["/a"] = whole(BODY)
    usage = download.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: usage)
    with refuses(DataError, "256,000", "1,000"):
        fetch(server, tmp_path / "file")


def test_folder_that_cannot_be_written(server, tmp_path):
    server.answers["/a"] = whole(BODY)
    (tmp_path / "file").touch()
    inner = tmp_path / "file" / "inner"
    with refuses(DataError, tmp_path / "file"):
        fetch(server, inner)
    with refuses(DataError, tmp_path / "file"), download.locked(inner):
        pass


# ----------------------------------------- unpacking (hostile and damaged ones: test_bad_files.py)


def unpack(archive, target, members=("a/one",), max_bytes=100_000):
    download.unpack(archive, target, dict.fromkeys(members, ""), max_bytes)


@pytest.mark.parametrize("make", [tar, zipped])
def test_unpack_takes_what_is_wanted(tmp_path, make):
    archive = make(tmp_path / "archive", ("a/one", b"1"), ("./a/b/two", b"22"), ("readme", b"no"))
    unpack(archive, tmp_path / "target", {"a/one", "a/b/two"})
    assert files_below(tmp_path / "target") == {"a/one": b"1", "a/b/two": b"22"}


def test_unpack_adds_to_what_is_there(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one").write_bytes(b"old")
    (tmp_path / "a" / "mine").write_bytes(b"kept")
    unpack(tar(tmp_path / "archive.tgz", ("./a/one", b"1")), tmp_path)
    (tmp_path / "archive.tgz").unlink()
    assert files_below(tmp_path) == {"a/one": b"1", "a/mine": b"kept"}


def test_a_member_that_is_missing_or_another_one(tmp_path):
    """All or nothing."""
    archive = tar(tmp_path / "archive", ("a/one", b"1"), ("b", b"2"))
    sums = {"a/one": hashlib.sha256(b"1").hexdigest()}
    for wrong in ({"b": hashlib.sha256(b"?").hexdigest()}, {"c": ""}):
        with refuses(DataError, "1", *wrong):
            download.unpack(archive, tmp_path / "target", sums | wrong, LIMIT)
        assert files_below(tmp_path).keys() == {"archive"}


def test_bytes_after_the_end_are_no_damage(tmp_path):
    archive = tar(tmp_path / "archive", ("a/one", b"1"))
    archive.write_bytes(archive.read_bytes() + b"\0" * 512 + b"signature")
    unpack(archive, tmp_path / "target")
    assert files_below(tmp_path / "target") == {"a/one": b"1"}
