"""A real Orthanc with its DICOMweb plug-in on loopback ports and in a temporary folder, to start, kill and restart."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

PROGRAM = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin")
#: where Debian and others put the plug-in.
PLUGINS = tuple(
    path
    for folder in ("/usr/share/orthanc/plugins", "/usr/local/share/orthanc/plugins", "/usr/lib/orthanc")
    for path in sorted(Path(folder).glob("libOrthancDicomWeb.so*"))[:1]
)
MISSING = "needs Orthanc and its DICOMweb plug-in: apt-get install orthanc orthanc-dicomweb"
AET = "ORTHANC"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Orthanc:
    """One server; its storage outlives a kill.

    Args:
        folder: for configuration, log and storage.
        users: name to password; without any, everybody on this machine may ask.
    """

    def __init__(self, folder: Path, users: dict[str, str] | None = None) -> None:
        assert PROGRAM is not None
        self.folder, self.http, self.dimse = folder, free_port(), free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self.http}/dicom-web"
        self.dicom_url = f"dicom://127.0.0.1:{self.dimse}/{AET}"
        folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "Name": "cxraug tests",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "Plugins": [str(PLUGINS[0])],
            "HttpPort": self.http,
            "DicomPort": self.dimse,
            "DicomAet": AET,
            "RemoteAccessAllowed": False,
            "DicomAlwaysAllowFind": True,
            "DicomAlwaysAllowGet": True,
            "DicomAlwaysAllowStore": True,
            "UnknownSopClassAccepted": True,
            "OverwriteInstances": False,
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            "AuthenticationEnabled": bool(users),
            "RegisteredUsers": users or {},
        }
        (folder / "orthanc.json").write_text(json.dumps(settings))
        self._headers: dict[str, str] = {}
        if users:
            import base64

            pair = next(iter(users.items()))
            self._headers = {"Authorization": f"Basic {base64.b64encode(':'.join(pair).encode()).decode()}"}

    def start(self) -> Orthanc:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([str(PROGRAM), str(self.folder / "orthanc.json")], stdout=log, stderr=log)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                self.ask("/system")
            except OSError:
                assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
                time.sleep(0.05)
            else:
                return self
        raise AssertionError("Orthanc did not start: " + (self.folder / "log").read_text()[-2000:])

    def kill(self) -> None:
        """End it at once, as a failure of power would."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def ask(self, path: str, data: bytes | None = None) -> Any:
        """Ask Orthanc's own interface, which is not the one under test."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", data=data, headers=self._headers)
        with opener.open(request, timeout=30) as answer:
            body = answer.read()
        return json.loads(body) if body[:1] in (b"{", b"[", b'"') else body

    def upload(self, path: Path) -> None:
        self.ask("/instances", path.read_bytes())

    def instances(self) -> list[dict[str, str]]:
        """Main tags of everything that is stored, duplicates and all."""
        return [entry["MainDicomTags"] for entry in self.ask("/instances?expand")]

    def uids(self) -> list[str]:
        return sorted(entry["SOPInstanceUID"] for entry in self.instances())

    def file(self, uid: str) -> bytes:
        """The stored file of one instance."""
        query = json.dumps({"Level": "Instance", "Query": {"SOPInstanceUID": uid}}).encode()
        (name,) = self.ask("/tools/find", query)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}/instances/{name}/file", headers=self._headers)
        with opener.open(request, timeout=30) as answer:
            return bytes(answer.read())
