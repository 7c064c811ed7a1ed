"""Checks who signed a statement with an SSH key, by ``ssh-keygen -Y verify`` and an OpenSSH allow-list.

Source: https://man.openbsd.org/ssh-keygen (-Y verify; ALLOWED SIGNERS).
"""

import re
import shutil
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from switchyard.core.decommission.approvals import NAMESPACE
from switchyard.core.errors import BadRequest, BadSetup, TryAgain

TIMEOUT_S: Final = 20.0
MAX_SIGNATURE_BYTES: Final = 64_000
"""A signature by an RSA key of 16,384 bits, with a certificate, has a tenth of that."""

_GOOD: Final = re.compile(r'Good "([^"]*)" signature for (\S+) with \S+ key (SHA256:[A-Za-z0-9+/]{43})\s*')
_SHOWN: Final = 300


class BadSignature(BadRequest):
    """The signature is not an approver's, for this text and purpose."""


class SshSignatures:
    """Checks signatures against the allow-list in `approvers_file`, which is read again each time.

    A line of it is an approver's address, perhaps options (``namespaces="switchyard-decommission"``,
    ``valid-before="20270101Z"``), and a public key.
    """

    def __init__(self, approvers_file: Path, *, timeout_s: float = TIMEOUT_S) -> None:
        self._file = approvers_file
        self._timeout_s = timeout_s

    def read_fingerprint(self, text: bytes, signature: bytes, approver: str, now: datetime) -> str:
        """Returns the fingerprint of the key with which `approver` signed `text`. A second call checks again.

        The child gets nothing of our environment, which may hold secrets.

        Raises:
            BadSignature: another text, key, purpose or approver; or the list does not allow the key at `now`.
            BadSetup: ssh-keygen is not installed, or the allow-list cannot be read.
            TryAgain: no answer in time.
        """
        program = _find_program()
        self._check_list()
        with tempfile.TemporaryDirectory(prefix="switchyard-approval-") as folder:
            file = Path(folder, "statement.sig")
            file.write_bytes(signature)
            command = [program, "-Y", "verify", "-f", str(self._file), "-I", approver, "-n", NAMESPACE]
            # The options' times are local times if they do not end in Z: TZ below makes them UTC on every machine.
            command += ["-O", f"verify-time={now.astimezone(UTC).strftime('%Y%m%d%H%M%SZ')}", "-s", str(file)]
            try:
                done = subprocess.run(
                    command,
                    input=text,
                    capture_output=True,
                    timeout=self._timeout_s,
                    env={"LC_ALL": "C", "TZ": "UTC"},
                    cwd=folder,
                )
            except subprocess.TimeoutExpired as err:
                raise TryAgain(f"ssh-keygen did not answer within {self._timeout_s:g} s") from err
            except OSError as err:
                raise BadSetup(f"{program} cannot be started: {err.strerror}. {_INSTALL}") from err
        said = done.stdout.decode(errors="replace")
        good = _GOOD.fullmatch(said)
        if done.returncode != 0 or good is None or good[1] != NAMESPACE or good[2] != approver:
            why = " ".join((done.stderr.decode(errors="replace") + " " + said).split())[:_SHOWN]
            raise BadSignature(f"no signature of {approver} for {NAMESPACE} that {self._file} allows: {why}")
        return good[3]

    def _check_list(self) -> None:
        """Checks the list first: ssh-keygen says the same of an unreadable list and of a forged signature."""
        try:
            text = self._file.read_text(errors="replace")
        except OSError as err:
            raise BadSetup(f"APPROVERS_FILE ({self._file}) cannot be read: {err.strerror}") from err
        lines = [line.strip() for line in text.splitlines()]
        if not any(line and not line.startswith("#") for line in lines):
            raise BadSetup(f"APPROVERS_FILE ({self._file}) names no approver. Add a line: <address> <public key>")


_INSTALL: Final = (
    "Install OpenSSH's client: apt-get install openssh-client (an older worker's image lacks it: build it again)"
)


def _find_program() -> str:
    found = shutil.which("ssh-keygen")
    if found is None:
        raise BadSetup(f"ssh-keygen is not installed, and approvals need it. {_INSTALL}")
    return found
