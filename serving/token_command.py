"""`switchyard token`: makes, lists and revokes the tokens of API_TOKENS_FILE."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from switchyard.clients.settings import Settings, read_settings
from switchyard.clients.token_file import add_token, list_tokens, revoke_token
from switchyard.core.access.tokens import Scope, Token, make_token
from switchyard.core.errors import SwitchyardError
from switchyard.core.runs.flags import FlagParser

EXPIRES_IN_DAYS = 90


def main(arguments: Sequence[str] | None = None, *, prog: str = "python -m serving.token_command") -> int:
    """Returns the exit status: 0 done, 2 not (stderr says why and what to do). A new token is all that stdout has."""
    parser = FlagParser(
        prog=prog,
        description="Makes a token for the API and the pages, and prints it once: only its hash is kept, in the file "
        "of API_TOKENS_FILE. Running servers take it, and refuse a revoked one, from their next request on.",
    )
    parser.add_argument(
        "--name", default="", help="who or what gets it, such as a person or a program (default: by the time)"
    )
    parser.add_argument(
        "--scope",
        type=Scope,
        choices=list(Scope),
        default=Scope.READ,
        help="read, or write, which may read too (default: %(default)s)",
    )
    parser.add_argument("--expires-in-days", type=int, default=EXPIRES_IN_DAYS, help="0: never (default: %(default)s)")
    parser.add_argument(
        "--file", default="", help="the file (default: API_TOKENS_FILE, else <STATE_DIR>/api-tokens.json)"
    )
    parser.add_argument("--list", action="store_true", help="list what there is, without the tokens themselves")
    parser.add_argument("--revoke", default="", metavar="NAME", help="end the token of that name")
    flags = parser.parse_args(arguments)
    if flags.list and flags.revoke:
        parser.error("--list and --revoke are two commands; give one of them")
    try:
        settings = read_settings()
        path = to_path(flags.file, settings)
        if flags.list:
            sys.stdout.write(to_table(list_tokens(path), now=datetime.now(UTC)))
        elif flags.revoke:
            revoke_token(path, flags.revoke)
            _say(f"The token {flags.revoke} is revoked.")
        else:
            now = datetime.now(UTC)
            name = flags.name or f"token-{now:%Y%m%d-%H%M%S}"
            text, token = make_token(name, flags.scope, now=now, expires_in_days=flags.expires_in_days)
            add_token(path, token)
            sys.stdout.write(f"{text}\n")
            ends = f"It expires on {token.expires_at:%Y-%m-%d}." if token.expires_at else "It does not expire."
            _say(f"The token {name} ({flags.scope}) is on stdout, and nowhere else. {ends}")
            if settings.api_tokens_file != str(path):
                _say(f"Have the server read its file: API_TOKENS_FILE={path}")
    except SwitchyardError as err:
        _say(f"{prog}: {err}")
        return 2
    return 0


def to_path(file: str, settings: Settings) -> Path:
    """Returns the file that is meant."""
    if file:
        return Path(file).expanduser().absolute()
    return Path(settings.api_tokens_file or Path(settings.state_dir) / "api-tokens.json")


def to_table(tokens: Sequence[Token], *, now: datetime) -> str:
    """Returns the tokens as a table: a heading, and one line a token."""
    lines = [("name", "scopes", "made", "expires")]
    for token in tokens:
        ends = f"{token.expires_at:%Y-%m-%d}" if token.expires_at else "never"
        made = f"{token.created_at:%Y-%m-%d}"
        lines.append((token.name, ",".join(token.scopes), made, f"{ends} (expired)" if token.is_expired(now) else ends))
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    return "".join("  ".join(map(str.ljust, line, widths)).rstrip() + "\n" for line in lines)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
