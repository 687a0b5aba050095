"""Files from the network, and archives unpacked, without trusting either.

A download goes on where it was cut off, is checked before it takes its place, and several
processes that need the same one download once (:func:`locked`). Every failure is a DataError.
"""

from __future__ import annotations

import errno
import hashlib
import os
import posixpath
import shutil
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock, Timeout
from tqdm import tqdm

from asyrepro.system.errors import DataError, first_line

ALLOWED = ("https://",)  # how addresses begin, redirections included
CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0  # a server that sends nothing for this long counts as cut off
ATTEMPTS = 5  # in a row, without one new byte
PAUSE_SECONDS = 1.0  # after the first failed attempt; then twice that, ...
BLOCK = 1 << 18
LARGE = 10_000_000  # bytes; a larger download is announced, and has a progress bar
BUSY = (429, 500, 502, 503, 504)  # HTTP answers worth another attempt
HEADER = 512  # bytes that a member of an archive counts at least

_unreachable: dict[str, str] = {}  # hosts this process could not connect to, and why


def fetch(url: str, path: Path, *, accept: Callable[[Path], None], max_bytes: int) -> Path:
    """Download one file to ``path``, whose folder is made if need be.

    One process at a time: see :func:`locked`. What is left in ``path.part`` is continued.

    Args:
        accept: raises a DataError if the downloaded file is not the right one.
        max_bytes: more than the file can have; a longer answer is refused.

    Raises:
        DataError: there is no such file at that address, or it cannot be written.
    """
    part = path.with_name(path.name + ".part")
    with _writing(part):
        part.parent.mkdir(parents=True, exist_ok=True)
        resumed = _size(part) > 0
        _download(url, part, max_bytes)
        try:
            accept(part)
        except DataError:
            part.unlink()
            if not resumed:
                raise
            return fetch(url, path, accept=accept, max_bytes=max_bytes)  # it was of another file
        os.replace(part, path)
    return path


def expect(path: Path, digest: str) -> None:
    """DataError unless a file has this SHA-256, or MD5 where that is all its authors publish."""
    kind = "md5" if len(digest) == 32 else "sha256"
    found = file_digest(path, kind)
    if found != digest:
        raise DataError(
            f"not the published file ({kind} {found[:16]}... instead of {digest[:16]}...)"
        )


def file_digest(path: Path, kind: str = "sha256") -> str:
    """Hexadecimal digest of a file's bytes."""
    digest = hashlib.new(kind, usedforsecurity=kind != "md5")
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time work on ``path``; the others wait. Ends with its process."""
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print(f"waiting for another process that is fetching {path.name}", file=sys.stderr)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def unpack(archive: Path, target: Path, members: Mapping[str, str], max_bytes: int) -> None:
    """Unpack members of a tar or zip archive below ``target``, all of them or none.

    Only the members asked for are written, as regular files: links, devices and names that lead
    outside have nowhere to go. One process at a time: see :func:`locked`.

    Args:
        members: the SHA-256 of each by its name in the archive; "" where it is not known.
        max_bytes: more than everything in the archive can have.

    Raises:
        DataError: the archive is damaged or too large, a member is missing or not the published
            one; or ``target`` cannot be written.
    """
    staging = target / f".{archive.name}.unpacking"
    missing = dict(members)
    try:
        with _writing(staging):
            shutil.rmtree(staging, ignore_errors=True)  # of a process that was killed
            for name, content in _read(archive, members, max_bytes):
                if members[name] in ("", hashlib.sha256(content).hexdigest()):
                    (staging / name).parent.mkdir(parents=True, exist_ok=True)
                    (staging / name).write_bytes(content)
                    missing.pop(name, None)
            if missing:
                raise DataError(
                    f"{archive} lacks {len(missing)} published images ({next(iter(missing))}, ...)"
                )
            for name in members:
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(staging / name, target / name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _read(archive: Path, wanted: Mapping[str, str], max_bytes: int) -> Iterator[tuple[str, bytes]]:
    """Name and content of the wanted regular files of an archive."""
    total = 0
    try:
        open_archive = zipfile.ZipFile if zipfile.is_zipfile(archive) else tarfile.open
        with open_archive(archive) as file:
            for name, size, member in _members(file):
                total += max(size, HEADER)
                if total > max_bytes:
                    raise DataError(f"{archive} is refused: it holds over {max_bytes:,} bytes")
                if posixpath.normpath(name) not in wanted:
                    continue
                if isinstance(file, zipfile.ZipFile):
                    yield posixpath.normpath(name), file.read(member)
                elif member.isfile():
                    yield posixpath.normpath(name), file.extractfile(member).read()
    except DataError:
        raise
    # A damaged archive raises a dozen kinds of exception: TarError, BadZipFile, OSError, EOFError,
    # zlib.error, ...
    except Exception as error:
        raise DataError(f"{archive} is damaged ({first_line(error)})") from error


def _members(file: zipfile.ZipFile | tarfile.TarFile) -> Iterator[tuple]:
    """(name, size, member) of all that an archive holds."""
    if isinstance(file, zipfile.ZipFile):
        return ((info.filename, info.file_size, info) for info in file.infolist())
    return ((info.name, info.size, info) for info in file)


# ---------------------------------------------------------------------------------- downloading


def _download(url: str, part: Path, max_bytes: int) -> None:
    """All bytes of ``url`` into ``part``, going on from what it holds, with patience for cuts."""
    import requests  # here, as most commands download nothing
    import urllib3

    host, failures = urlsplit(url).hostname, 0
    if host in _unreachable:
        raise DataError(_unreachable[host])
    with _session() as session:
        while True:
            before = _size(part)
            try:
                if _transfer(session, url, part, max_bytes):
                    return
                reason = f"{host} cannot resume the download"
            except requests.exceptions.InvalidSchema as error:
                raise DataError(f"{url} leads to an address that is not https") from error
            except requests.exceptions.ConnectionError as error:
                reason = f"no connection to {host}"
                if not before:  # as on a machine without network: no patience
                    _unreachable[host] = reason
                    raise DataError(reason) from error
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                reason = f"the connection to {host} was cut ({error})"
            failures = 0 if _size(part) > before else failures + 1
            if failures >= ATTEMPTS:
                raise DataError(reason)
            time.sleep(PAUSE_SECONDS * failures)


def _session():
    """A session that asks busy servers again and takes no other addresses than ALLOWED."""
    from requests import Session
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    session = Session()
    session.headers.update({"User-Agent": "asyrepro", "Accept-Encoding": "identity"})
    session.adapters.clear()
    retry = Retry(
        ATTEMPTS - 1,
        connect=0,
        read=0,
        status_forcelist=BUSY,
        backoff_factor=PAUSE_SECONDS,
        raise_on_status=False,
    )
    for address in ALLOWED:
        session.mount(address, HTTPAdapter(max_retries=retry))
    return session


def _transfer(session, url: str, part: Path, max_bytes: int) -> bool:
    """One request; whether the file is complete. Raises what requests and urllib3 raise."""
    have = _size(part)
    headers = {"Range": f"bytes={have}-"} if have else {}
    timeout = (CONNECT_SECONDS, READ_SECONDS)
    with session.get(url, headers=headers, stream=True, timeout=timeout) as response:
        place = response.headers.get("Content-Range", "")
        if response.status_code == 416 and place == f"bytes */{have}":
            return True
        resumed = response.status_code == 206
        if response.status_code == 416 or (resumed and not place.startswith(f"bytes {have}-")):
            part.unlink()
            return False
        if not response.ok:
            host = urlsplit(url).hostname
            raise DataError(f"{host} answers {response.status_code} {response.reason}")
        start = have if resumed else 0
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdigit() else None
        free = shutil.disk_usage(part.parent).free
        if total is not None and total - start > free:
            raise OSError(errno.ENOSPC, f"{total - start:,} bytes are needed and {free:,} are free")
        small = total is not None and total < LARGE
        if not small:
            print(f"downloading {url}", file=sys.stderr)
        bar = {"total": total, "initial": start, "desc": part.stem, "unit": "B", "unit_scale": True}
        with (
            open(part, "ab" if resumed else "wb") as out,
            tqdm(**bar, disable=small or None) as bar,  # None: no bar in a file
        ):
            done = max(start, total or 0)
            for block in response.raw.stream(BLOCK, decode_content=False):
                start += len(block)
                done = max(done, start)
                if done > max_bytes:
                    break
                out.write(block)
                bar.update(len(block))
            out.flush()
            os.fsync(out.fileno())
    if done > max_bytes:
        part.unlink()
        raise DataError(
            f"{urlsplit(url).hostname} sends {done:,} bytes, at most {max_bytes:,} are expected"
        )
    return True


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Within this, what the system refuses to write becomes a DataError."""
    try:
        yield
    except OSError as error:
        where = path.parent
        if error.errno == errno.ENOSPC:
            text = f"the disk that holds {where} is full ({error.strerror}): make room and retry"
        else:
            text = f"{where} cannot be written ({error.strerror or error}): choose another folder"
        raise DataError(text) from error
