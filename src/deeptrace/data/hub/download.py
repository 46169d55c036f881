"""The RewardData release from the hub into a folder: one pinned revision, every file checked, ready to be gone on with.

A folder in, the release's files in it out, and beside them ``deeptrace-download.json``: which repository, which commit,
which checksums. A file has its name only when its checksum is right. Needs the extra ``data``.
"""

from __future__ import annotations

import fnmatch
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deeptrace.characters import visible
from deeptrace.data.hub.archive import name_collision, name_problem
from deeptrace.data.hub.fetch import FULL_DISK, DownloadError, Rules, Wanted, fetch
from deeptrace.errors import FileError, JsonError, MissingExtra
from deeptrace.files import dumps, loads, make_folder, sync_folder, write_text
from deeptrace.lock import LockError, folder_lock

logger = logging.getLogger(__name__)

RELEASE: Final = "DeeptraceReward/RewardData"
"""The release's dataset on the Hugging Face hub; 21.2 GB."""

MANIFEST: Final = "deeptrace-download.json"
_SCHEMA: Final = "deeptrace.download/1"
_PARTIAL: Final = ".deeptrace-partial"

Progress = Callable[[str, int, int], None]
"""Called with a file's name, the bytes of all files that are there, and the bytes in all."""


@dataclass(frozen=True)
class Downloaded:
    """A folder that holds every file asked for, with the right bytes.

    ``commit`` is the revision's full hash; ``fetched`` names the files whose bytes came over the network in this run;
    ``offline``: the hub could not be asked, and the folder was complete already.
    """

    root: Path
    repo_id: str
    commit: str
    files: tuple[str, ...]
    fetched: tuple[str, ...]
    bytes_fetched: int
    offline: bool = False


def download(
    dest: str | os.PathLike[str],
    *,
    repo_id: str = RELEASE,
    repo_type: str = "dataset",
    revision: str | None = None,
    endpoint: str | None = None,
    token: str | bool | None = None,
    only: Iterable[str] | None = None,
    progress: Progress | None = None,
    rules: Rules | None = None,
    wait_seconds: float | None = None,
    sleep: Callable[[float], object] = time.sleep,
) -> Downloaded:
    """Bring ``dest`` to one revision of a hub repository. Interrupted at any moment, run it again.

    ``revision`` is a branch, tag or commit; None: the commit that ``dest`` already holds, else ``main``. ``only`` takes
    file names or patterns. Without ``token`` the hub's own saved one is used, but for the default endpoint only.
    Another process at work in ``dest`` is waited for, at most ``wait_seconds``.

    Raises:
        DownloadError: see `DownloadCode`. What came stays.
        MissingExtra: huggingface_hub is not installed.
    """
    try:
        from huggingface_hub import constants
    except ImportError:
        raise MissingExtra("downloading from the hub", "data") from None
    root, patterns = Path(dest), None if only is None else tuple(only)
    default_endpoint = endpoint is None or endpoint.rstrip("/") == constants.ENDPOINT.rstrip("/")
    if token is None and not default_endpoint:
        token = False
    try:
        with folder_lock(root, wait_seconds=wait_seconds):
            job = _Job(root, repo_id, repo_type, endpoint, token, patterns, progress, rules or Rules(), sleep)
            return job.run(revision)
    except LockError as error:
        raise DownloadError(error.code, str(error)) from None
    except FileError as error:
        raise DownloadError("WRITE_FAILED", str(error)) from None
    except OSError as error:  # whatever was looked at or read here; what came stays
        raise _refused(error, root.name) from None


def _refused(error: OSError, name: str) -> DownloadError:
    if error.errno in FULL_DISK:
        return DownloadError("DISK_FULL", f"no room for {name}: {error.strerror}. What came is kept; run it again")
    return DownloadError("WRITE_FAILED", f"cannot write {name}: {error.strerror or error}. What came is kept")


@dataclass
class _Job:
    root: Path
    repo_id: str
    repo_type: str
    endpoint: str | None
    token: str | bool | None
    only: tuple[str, ...] | None
    progress: Progress | None
    rules: Rules
    sleep: Callable[[float], object]

    def run(self, revision: str | None) -> Downloaded:
        manifest = self._read_manifest()
        wanted_revision = revision or manifest.get("commit") or "main"
        try:
            commit, hub_files = self._list(wanted_revision)
        except DownloadError as error:
            if error.code != "OFFLINE" or revision not in (None, manifest.get("commit"), manifest.get("revision")):
                raise
            return self._offline(manifest, error)
        wanted_files = [file for file in hub_files if self._is_wanted(file.name)]
        if not wanted_files:
            raise DownloadError("NOT_FOUND", f"no file of {self.repo_id} is called {', '.join(self.only or ('',))}")
        hashes = {file.name: (file.sha256, file.git_sha1) for file in hub_files}
        rows: dict[str, Any] = {
            name: row
            for name, row in manifest.get("files", {}).items()
            if hashes.get(name) == (row.get("sha256"), row.get("git_sha1"))
        }
        there = [file for file in wanted_files if self._is_there(file, rows)]
        missing = [file for file in wanted_files if file not in there]
        self._check_room(missing)
        done, total = sum(file.size for file in there), sum(file.size for file in wanted_files)
        came = 0
        for file in missing:

            def on_bytes(change: int, name: str = file.name, *, fetched: bool = True) -> None:
                nonlocal done, came
                done += change
                came += max(change, 0) if fetched else 0
                if self.progress is not None:
                    self.progress(name, done, total)

            self._bring(file, commit, on_bytes)
            rows[file.name] = self._row(file)
            self._write_manifest(wanted_revision, commit, rows, complete=False)
        for file in there:
            rows[file.name] = self._row(file)
        self._write_manifest(wanted_revision, commit, rows, complete=len(rows) == len(hub_files))
        self._tidy()
        names = tuple(file.name for file in wanted_files)
        return Downloaded(self.root, self.repo_id, commit, names, tuple(file.name for file in missing), came)

    # ── what there is ───────────────────────────────────────────────────────────────────────────────────────────────

    def _list(self, revision: str) -> tuple[str, list[Wanted]]:
        """The commit behind a revision, and its files."""
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

        api = HfApi(endpoint=self.endpoint, token=self.token)
        failure: DownloadError | None = None
        info: Any = None
        for attempt in range(self.rules.max_attempts):
            if attempt:
                self.sleep(min(2.0 ** (attempt - 1), 30.0))
            try:
                info = api.repo_info(
                    self.repo_id,
                    repo_type=self.repo_type,
                    revision=revision,
                    files_metadata=True,
                    timeout=self.rules.timeout_seconds,
                )
                break
            except OfflineModeIsEnabled:
                raise DownloadError("OFFLINE", "HF_HUB_OFFLINE is set, and not every file is here") from None
            except HfHubHTTPError as error:
                status = getattr(error.response, "status_code", None)
                if status in (401, 403):
                    raise DownloadError("FORBIDDEN", f"the hub answers {status} for {self.repo_id}: log in?") from None
                if status in (400, 404):
                    raise DownloadError("NOT_FOUND", f"the hub has no {self.repo_id} at {revision!r}") from None
                failure = DownloadError("OFFLINE", f"the hub answers {status} for the list of files")
            except Exception as error:  # noqa: BLE001  each version of the hub's library brings another HTTP library
                failure = DownloadError("OFFLINE", f"the hub cannot be asked ({type(error).__name__})")
        else:
            assert failure is not None
            raise failure
        return self._check_list(info)

    def _check_list(self, info: Any) -> tuple[str, list[Wanted]]:
        commit = info.sha
        if not isinstance(commit, str) or not re.fullmatch(r"[0-9a-f]{40}", commit):
            raise DownloadError("BAD_LIST", "the hub does not say which commit this is")
        files = []
        for sibling in info.siblings or ():
            name, size, lfs = sibling.rfilename, sibling.size, sibling.lfs
            if problem := name_problem(name) if isinstance(name, str) else "is not text":
                raise DownloadError("HOSTILE_NAME", f"the repository holds a file whose name {problem}")
            if name.split("/")[0].startswith((".deeptrace", MANIFEST)):
                raise DownloadError("HOSTILE_NAME", f"the repository holds a file called like one of ours: {name}")
            sha256 = lfs.sha256 if lfs is not None else None
            hashed = re.fullmatch(r"[0-9a-f]{64}", sha256 or "") or re.fullmatch(r"[0-9a-f]{40}", sibling.blob_id or "")
            if isinstance(size, bool) or not isinstance(size, int) or size < 0 or not hashed:
                raise DownloadError("BAD_LIST", f"the hub lists {name} without a size or a checksum")
            files.append(Wanted(name, size, sha256, None if sha256 else sibling.blob_id))
        if twice := name_collision([file.name for file in files], [False] * len(files)):
            raise DownloadError("HOSTILE_NAME", f"two files of the repository would fall on one another: {twice}")
        return commit, files

    def _is_wanted(self, name: str) -> bool:
        return self.only is None or any(fnmatch.fnmatchcase(name, pattern) for pattern in self.only)

    def _offline(self, manifest: Mapping[str, Any], error: DownloadError) -> Downloaded:
        """The folder as it is, when it is complete without asking the hub."""
        rows = manifest.get("files", {})
        names = [name for name in rows if self._is_wanted(name)]
        files = [
            Wanted(name, rows[name]["size"], rows[name].get("sha256"), rows[name].get("git_sha1")) for name in names
        ]
        whole = manifest.get("complete") or (self.only is not None and all(name in rows for name in self.only))
        if not names or not whole or not all(self._is_there(file, rows) for file in files):
            raise error
        logger.warning("%s; the files here are complete at commit %s", visible(str(error)), manifest["commit"])
        return Downloaded(self.root, self.repo_id, manifest["commit"], tuple(names), (), 0, offline=True)

    # ── what is here ────────────────────────────────────────────────────────────────────────────────────────────────

    def _read_manifest(self) -> Mapping[str, Any]:
        try:
            value: dict[str, Any] = loads((self.root / MANIFEST).read_bytes())
        except (OSError, JsonError):
            return {}
        fine = (
            isinstance(value, dict)
            and value.get("schema") == _SCHEMA
            and isinstance(value.get("files"), dict)
            and all(isinstance(row, dict) and isinstance(row.get("size"), int) for row in value["files"].values())
            and isinstance(value.get("commit"), str)
        )
        if not fine:
            return {}
        if (value.get("repo_id"), value.get("repo_type")) != (self.repo_id, self.repo_type):
            message = f"{self.root.name!r} holds {value.get('repo_id')}, not {self.repo_id}. Choose another folder"
            raise DownloadError("CHANGED", message)
        return value

    def _write_manifest(self, wanted_revision: str, commit: str, rows: Mapping[str, Any], *, complete: bool) -> None:
        value = {
            "schema": _SCHEMA,
            "repo_id": self.repo_id,
            "repo_type": self.repo_type,
            "revision": wanted_revision,
            "commit": commit,
            "complete": complete,
            "files": dict(sorted(rows.items())),
        }
        write_text(self.root / MANIFEST, dumps(value, indent=2) + "\n")

    def _row(self, file: Wanted) -> dict[str, Any]:
        row: dict[str, Any] = {"size": file.size, "sha256": file.sha256, "git_sha1": file.git_sha1}
        row["mtime_us"] = (self.root / file.name).stat().st_mtime_ns // 1000
        return row

    def _is_there(self, file: Wanted, rows: Mapping[str, Any]) -> bool:
        """Whether the file is here. One that was checked and not touched since is not read again."""
        path = self.root / file.name
        if not path.is_file() or path.stat().st_size != file.size:
            return False
        if rows.get(file.name) == self._row(file):
            return True
        return file.matches(path)

    def _check_room(self, missing: Iterable[Wanted]) -> None:
        needed = sum(file.size - min(self._partial(file, make=False), file.size) for file in missing)
        free = shutil.disk_usage(self.root).free
        if needed > free:
            raise DownloadError(
                "DISK_FULL", f"{needed:,} more bytes are needed in {self.root.name!r}, {free:,} are free"
            )

    def _part(self, file: Wanted) -> Path:
        # Named by content: bytes of two versions never meet in one file.
        return self.root / _PARTIAL / f"{file.sha256 or file.git_sha1}.part"

    def _partial(self, file: Wanted, *, make: bool) -> int:
        part = self._part(file)
        if make:
            make_folder(part.parent)
        return part.stat().st_size if part.is_file() else 0

    # ── bringing ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _bring(self, file: Wanted, commit: str, on_bytes: Callable[..., None]) -> None:
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined,unused-ignore]

        try:
            have = self._partial(file, make=True)
            on_bytes(have, fetched=False)
            target, part = self.root / file.name, self._part(file)
            make_folder(target.parent)
            if self._copy_from_cache(file, commit, part):
                on_bytes(file.size - have, fetched=False)
            else:
                url = hf_hub_url(
                    self.repo_id, file.name, repo_type=self.repo_type, revision=commit, endpoint=self.endpoint
                )
                headers = build_hf_headers(token=self.token, library_name="deeptrace")
                fetch(url, headers, file, part, rules=self.rules, on_bytes=on_bytes, sleep=self.sleep)
            os.replace(part, target)
            sync_folder(target.parent)
        except OSError as error:
            raise _refused(error, file.name) from None

    def _copy_from_cache(self, file: Wanted, commit: str, part: Path) -> bool:
        """Use the file where the hub's own tools have brought it to this machine already."""
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(self.repo_id, file.name, revision=commit, repo_type=self.repo_type)
        if not isinstance(cached, str) or not file.matches(Path(cached)):
            return False
        with open(cached, "rb") as source, open(part, "wb") as copy:
            shutil.copyfileobj(source, copy)
            copy.flush()
            os.fsync(copy.fileno())
        return file.matches(part)

    def _tidy(self) -> None:
        """Remove the folder of partial files once nothing in it is of use: the list has no file left to bring."""
        if self.only is None:
            shutil.rmtree(self.root / _PARTIAL, ignore_errors=True)
