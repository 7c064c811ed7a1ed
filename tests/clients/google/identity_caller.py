"""Calls a service in a process of its own, for google-auth reads the metadata server's address when it is imported.

Prints one JSON line: the callers that the service saw, or the error.
"""

import argparse
import json
import sys

import requests

from switchyard.clients.google.identity import IdTokenAuth, open_session
from switchyard.core.errors import SwitchyardError


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--calls", type=int, default=1)
    parser.add_argument("--auth", action="store_true", help="a plain session with IdTokenAuth instead")
    flags = parser.parse_args()
    try:
        if flags.auth:
            session = requests.Session()
            session.auth = IdTokenAuth(flags.url)
        else:
            session = open_session(flags.url)
        answers = [session.post(f"{flags.url}/api", data="x", timeout=30) for _ in range(flags.calls)]
    except SwitchyardError as err:
        json.dump({"error": type(err).__name__, "message": str(err)}, sys.stdout)
        return
    json.dump(
        {"callers": [answer.json()["caller"] if answer.ok else answer.status_code for answer in answers]}, sys.stdout
    )


if __name__ == "__main__":
    main()
