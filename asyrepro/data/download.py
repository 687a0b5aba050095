"""Files from the network, and archives unpacked, without trusting either.

A download is checked, atomic (``.part``, then ``os.replace``), goes on where it was cut off, and
tries mirrors in turn; :func:`locked` makes several processes that need the same one download once.
(torchvision's ``download_url`` cannot resume and repeats a failed https request over plain http.)
Every failure is a DataError.
"""

from __future__ import annotations

import errno
import fcntl
import gzip
import hashlib
import http.client
import os
import posixpath
import shutil
import socket
import stat
import sys
import tarfile
import threading
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath
from typing import BinaryIO
from urllib.parse import urlsplit

from tqdm import tqdm

from asyrepro.system.errors import DataError

CONNECT_SECONDS = 5.0  # a machine without network finds out within this time, per host
READ_SECONDS = 30.0  # a server that sends nothing for this long counts as cut off
ATTEMPTS = 5  # in a row, without one new byte
PAUSE_SECONDS = 1.0  # after the first failed attempt; then twice that, ...
BLOCK = 1 << 18
MAX_MEMBERS = 50_000  # of an archive
BUSY = (429, 500, 502, 503, 504)  # HTTP answers worth another attempt

Check = Callable[[Path], "str | None"]  # what is wrong with a downloaded file, or None

_unreachable: dict[tuple[str, int], str] = {}  # hosts this process could not connect to, and why


class _Failed(Exception):
    """This address will not do; the next one may."""


class _Cut(Exception):
    """The connection ended early; asking again may help."""


def fetch(urls: Iterable[str], path: Path, *, check: Check, max_bytes: int) -> Path:
    """Make sure that `path` is a file that passes `check`, downloading it if it is not.

    Args:
        urls: where it can be had, tried in turn; https, or http to this machine itself.
        path: the file; its folder is made if need be.
        check: called with a file, says what is wrong with it or returns None.
        max_bytes: more than the file can have; a longer answer is refused.

    One process at a time: see :func:`locked`.

    Raises:
        DataError: no address gave a file that passes, or it cannot be written.
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    reasons = []
    try:
        if path.is_file() and check(path) is None:
            return path
        for url in urls:
            try:
                _fetch_one(url, part, check, max_bytes)
            except _Failed as failure:
                reasons.append(f"{url}: {failure}")
                continue
            os.replace(part, path)
            return path
    except OSError as error:
        raise DataError(_not_written(part, error)) from error
    raise DataError(f"{path.name} could not be downloaded ({'; '.join(reasons)})")


def digest_check(*, sha256: str = "", md5: str = "") -> Check:
    """A check that compares a file's SHA-256 (or MD5, where that is all its authors publish)."""
    kind, expected = ("sha256", sha256) if sha256 else ("md5", md5)

    def check(path: Path) -> str | None:
        found = file_digest(path, kind)
        if found == expected:
            return None
        return f"its {kind} is {found[:16]}... where {expected[:16]}... is expected"

    return check


def file_digest(path: Path, kind: str = "sha256") -> str:
    """Hexadecimal digest of a file's bytes."""
    digest = hashlib.new(kind, usedforsecurity=kind != "md5")
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def bytes_digest(data: bytes) -> str:
    """Hexadecimal SHA-256 of bytes."""
    return hashlib.sha256(data).hexdigest()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time work on `path`; the others wait. Ends with its process."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = open(path.with_name(f".{path.name}.lock"), "a")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise DataError(_not_written(path, error)) from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another process that is fetching {path.name}", file=sys.stderr)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def unpack(archive: Path, target: Path, *, wanted: Container[str], max_bytes: int) -> None:
    """Unpack the wanted members of a tar or zip archive below `target`.

    Members go to a staging folder first and, when all are unpacked, to their places, one atomic
    move each. Only regular files are ever created. One process at a time: see :func:`locked`.

    Raises:
        DataError: the archive is damaged, is no archive, is larger than `max_bytes` unpacked, or
            has a member that reaches outside (``..``, absolute names, links) or is a device; or
            `target` cannot be written.
    """
    staging = Path(target) / f".{archive.name}.unpacking"
    try:
        shutil.rmtree(staging, ignore_errors=True)  # of a process that was killed
        staging.mkdir(parents=True)
        for name, file in _members(archive, wanted, max_bytes):
            place = staging / name
            place.parent.mkdir(parents=True, exist_ok=True)
            with open(place, "wb") as out:
                shutil.copyfileobj(file, out, BLOCK)
        for file in sorted(p for p in staging.rglob("*") if p.is_file()):
            place = Path(target) / file.relative_to(staging)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, place)
    except OSError as error:
        raise DataError(_not_written(staging, error)) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def member_digests(archive: Path, wanted: Container[str], max_bytes: int) -> dict[str, str]:
    """SHA-256 of each wanted member of an archive, by name. Errors as :func:`unpack`'s."""
    return {name: bytes_digest(file.read()) for name, file in _members(archive, wanted, max_bytes)}


# ---------------------------------------------------------------------------------- downloading


def _fetch_one(url: str, part: Path, check: Check, max_bytes: int) -> None:
    """Bring `part` to a state that passes `check`, from one address."""
    resumed = part.exists()
    _get(url, part, max_bytes)
    problem = check(part)
    if problem and resumed:  # what was there may have been of another file: once more from scratch
        part.unlink()
        _get(url, part, max_bytes)
        problem = check(part)
    if problem:
        part.unlink()
        raise _Failed(f"the file is not the published one, {problem}; it was removed")


def _get(url: str, part: Path, max_bytes: int) -> None:
    """All bytes of `url` into `part`, going on from what it holds, with patience for cuts."""
    failures, gained_ever = 0, False
    while True:
        have = part.stat().st_size if part.exists() else 0
        try:
            return _transfer(url, part, have, max_bytes)
        except _Cut as cut:
            gained = part.exists() and part.stat().st_size > have
            gained_ever |= gained
            failures = 1 if gained else failures + 1
            patient = gained_ever or have or getattr(cut, "busy", False)
            if failures >= ATTEMPTS or not patient:
                raise _Failed(str(cut)) from cut
        time.sleep(PAUSE_SECONDS * failures)


def _transfer(url: str, part: Path, have: int, max_bytes: int) -> None:
    """One request. Raises _Cut where another may help, _Failed where not, OSError for the disk."""
    headers = {"User-Agent": "asyrepro", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    response = _open(url, headers, part, have)
    if response is None:
        return
    with response:
        resumed = response.status == 206
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            part.unlink()
            raise _Cut("the server resumed at the wrong place")
        done = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = done + int(length) if length and length.isdigit() else None
        if (total or 0) > max_bytes:
            raise _Failed(f"the server offers {total:,} bytes, at most {max_bytes:,} are expected")
        part.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(part.parent).free
        if (total or done) - done > free:
            raise OSError(errno.ENOSPC, f"{total - done:,} bytes are needed and {free:,} are free")
        print(f"downloading {url}" + (f" from byte {done:,} on" if done else ""), file=sys.stderr)
        with (
            open(part, "ab" if resumed else "wb") as out,
            tqdm(
                total=total,
                initial=done,
                unit="B",
                unit_scale=True,
                desc=part.stem,
                disable=None,  # no bar where the output is no terminal
            ) as bar,
        ):
            while True:
                try:
                    block = response.read(BLOCK)
                except (OSError, http.client.HTTPException) as error:
                    raise _Cut(f"the connection was cut ({error})") from error
                if not block:
                    break
                done += len(block)
                if done > max_bytes:
                    out.close()
                    part.unlink()
                    raise _Failed(f"the server sent more than {max_bytes:,} bytes")
                out.write(block)
                bar.update(len(block))
            out.flush()
            os.fsync(out.fileno())
        if total is not None and done < total:
            raise _Cut(f"the connection was cut after {done:,} of {total:,} bytes")


def _open(url: str, headers: dict, part: Path, have: int) -> http.client.HTTPResponse | None:
    """Send the request; None if `part` turns out to be complete already."""
    _check_address(url)
    _check_reachable(url)
    try:
        request = urllib.request.Request(url, headers=headers)
        return urllib.request.build_opener(_Redirects).open(request, timeout=READ_SECONDS)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and have:
                if error.headers.get("Content-Range", "") == f"bytes */{have}":
                    return None
                part.unlink()
                raise _Cut("the server could not resume") from error
            if error.code in BUSY:
                cut = _Cut(f"the server answered {error.code} {error.reason}")
                cut.busy = True
                raise cut from error
            raise _Failed(f"the server answered {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _Cut(f"no answer ({getattr(error, 'reason', error)})") from error


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirections to addresses that would be allowed as such."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        _check_address(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_address(url: str) -> None:
    address = urlsplit(url)
    here = address.hostname in ("127.0.0.1", "localhost", "::1")
    if address.scheme != "https" and not (address.scheme == "http" and here):
        raise _Failed("only https addresses are allowed")


def _check_reachable(url: str) -> None:
    """Fail within CONNECT_SECONDS where there is no network (name look-ups have no timeout)."""
    address = urlsplit(url)
    proxy = urllib.request.getproxies().get(address.scheme)
    if proxy and not urllib.request.proxy_bypass(address.netloc):
        address = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    host = address.hostname or ""
    port = address.port or (443 if address.scheme == "https" else 80)
    if (host, port) not in _unreachable:
        outcome = [f"no connection to {host} within {CONNECT_SECONDS:g} s"]

        def connect() -> None:
            try:
                socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
                outcome.append("")
            except OSError as error:
                outcome.append(f"no connection to {host} ({error.strerror or error})")

        thread = threading.Thread(target=connect, daemon=True)
        thread.start()
        thread.join(CONNECT_SECONDS)
        if not outcome[-1]:
            return
        _unreachable[host, port] = outcome[-1]
    raise _Failed(_unreachable[host, port])


def _not_written(path: Path, error: OSError) -> str:
    where = Path(path).parent
    if error.errno == errno.ENOSPC:
        return f"the disk that holds {where} is full ({error.strerror}): make room and retry"
    return f"{where} cannot be written ({error.strerror or error}): choose another folder"


# ------------------------------------------------------------------------------------ unpacking


def _members(
    archive: Path, wanted: Container[str], max_bytes: int
) -> Iterator[tuple[str, BinaryIO]]:
    """Name and open file of each wanted regular member; every member's claims are looked at."""
    total = count = 0
    try:
        members = _zip_members if zipfile.is_zipfile(archive) else _tar_members
        for name, size, file in members(archive):
            total, count = total + size, count + 1
            if total > max_bytes or count > MAX_MEMBERS:
                raise _bomb(archive, max_bytes)
            if file is not None and name in wanted:
                yield name, _Reader(file, archive)
    except DataError:
        raise
    except Exception as error:  # as in _Reader.read
        raise _damaged(archive, error) from error


class _Reader:
    """A member's bytes. tarfile, zipfile and the decompressors report a damaged archive by a dozen
    kinds of exception (TarError, BadZipFile, OSError, EOFError, zlib.error, ...): all become one.
    """

    def __init__(self, file: BinaryIO, archive: Path) -> None:
        self.file, self.archive = file, archive

    def read(self, size: int = -1) -> bytes:
        try:
            return self.file.read(size)
        except Exception as error:
            raise _damaged(self.archive, error) from error


def _tar_members(archive: Path) -> Iterator[tuple[str, int, BinaryIO | None]]:
    with tarfile.open(archive, "r:*") as tar:
        for member in tar:
            name = _safe_name(archive, member.name)
            if member.issym() or member.islnk():
                base = posixpath.dirname(name) if member.issym() else ""
                _safe_name(archive, member.linkname, base)
                yield name, 0, None  # links that stay inside are harmless, and not needed
            elif member.isfile():
                yield name, member.size, tar.extractfile(member)
            elif member.isdir():
                yield name, 0, None
            else:
                raise _hostile(archive, member.name, "is a device or pipe")
        try:
            while rest := tar.fileobj.read(BLOCK):  # to its end, where gzip has its checksum
                yield "", len(rest), None
        except gzip.BadGzipFile as error:
            if "Not a gzipped file" not in str(error):  # bytes after the end are no damage
                raise


def _zip_members(archive: Path) -> Iterator[tuple[str, int, BinaryIO | None]]:
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            name = _safe_name(archive, info.orig_filename)
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _hostile(archive, name, "is a link, device or pipe")
            if info.flag_bits & 1:
                raise DataError(f"{archive} is encrypted: fetch the published archive")
            if info.is_dir():
                yield name, 0, None
            else:
                with file.open(info) as member:
                    yield name, info.file_size, member


def _safe_name(archive: Path, name: str, base: str = "") -> str:
    """`name`, seen from the folder `base`, if it stays inside the archive; else a DataError."""
    resolved = posixpath.normpath(posixpath.join(base, name))
    outside = resolved == ".." or resolved.startswith(("../", "/"))
    if outside or "\\" in name or "\0" in name or PureWindowsPath(name).drive:
        raise _hostile(archive, name, "leads outside the folder it is unpacked to")
    return resolved


def _damaged(archive: Path, error: Exception) -> DataError:
    reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(":")
    return DataError(f"{archive} is damaged ({reason}): delete it and retry")


def _hostile(archive: Path, name: str, what: str) -> DataError:
    return DataError(
        f"{archive} is refused: its member {name!r} {what}. "
        "Delete it and fetch the published archive"
    )


def _bomb(archive: Path, max_bytes: int) -> DataError:
    return DataError(
        f"{archive} is refused: it unpacks to more than {max_bytes:,} bytes or {MAX_MEMBERS:,} "
        "files, more than the data set has. Delete it and fetch the published archive"
    )
