"""Cloud Storage's written rules, each with its source: names, preconditions, metadata fields, globs, error bodies.

They stand for Google's behaviour, not for our client's; nothing here knows how the client uses them.
"""

import ipaddress
import re
from collections.abc import Mapping
from typing import Final

import msgspec

MAX_METADATA_BYTES: Final = 8 * 1024
"""All custom metadata keys and values of an object. Source: https://cloud.google.com/storage/quotas#objects"""
CHUNK_BYTES: Final = 256 * 1024
"""A resumable upload keeps multiples of this. Source: https://cloud.google.com/storage/docs/performing-resumable-uploads"""
PAGE_SIZE: Final = 1000
"""The most items and prefixes of one list answer. Source: https://cloud.google.com/storage/docs/json_api/v1/objects/list"""
COMPOSE_SOURCES: Final = 32
"""Source: https://cloud.google.com/storage/docs/composite-objects"""

# Source: https://cloud.google.com/storage/docs/json_api/v1/objects#resource, the properties marked writable, and
# those that a request may repeat from an earlier answer (they are then ignored).
WRITABLE_FIELDS: Final = frozenset(
    {
        "cacheControl", "contentDisposition", "contentEncoding", "contentLanguage", "contentType", "customTime",
        "metadata", "storageClass",
    }
)  # fmt: skip
READ_ONLY_FIELDS: Final = frozenset(
    {
        "acl", "bucket", "componentCount", "contexts", "crc32c", "etag", "eventBasedHold", "finalizedTime",
        "generation", "hardDeleteTime", "id", "kind", "kmsKeyName", "md5Hash", "mediaLink", "metageneration", "name",
        "owner", "retention", "retentionExpirationTime", "selfLink", "size", "softDeleteTime", "temporaryHold",
        "timeCreated", "timeDeleted", "timeFinalized", "timeStorageClassUpdated", "updated",
    }
)  # fmt: skip


class Refused(Exception):
    """An answer that is no success, as the JSON API words it.

    Source: https://cloud.google.com/storage/docs/json_api/v1/status-codes
    """

    def __init__(self, status: int, reason: str, message: str, *, location: tuple[str, str] | None = None) -> None:
        self.status = status
        self.reason = reason
        self.message = message
        self.location = location
        self.is_broken_sum = False
        super().__init__(f"{status} {reason}: {message}")

    def to_body(self) -> bytes:
        """The error as JSON; nothing for 304, which has no body."""
        if self.status == 304:
            return b""
        detail = {"message": self.message, "domain": "global", "reason": self.reason}
        if self.location:
            detail |= {"locationType": self.location[0], "location": self.location[1]}
        return msgspec.json.encode({"error": {"code": self.status, "message": self.message, "errors": [detail]}})


def broken_sum(label: str, given: str, actual: str) -> Refused:
    """400 for data that is not what its sender summed up.

    Source: https://cloud.google.com/storage/docs/json_api/v1/status-codes#400-bad-request ("invalid"); the answer:
    https://github.com/googleapis/python-storage/issues/1541
    """
    refused = Refused(400, "invalid", f'Provided {label} "{given}" doesn\'t match calculated {label} "{actual}".')
    refused.is_broken_sum = True
    return refused


def no_bucket() -> Refused:
    """404 for a bucket that is not there."""
    return Refused(404, "notFound", "The specified bucket does not exist.")


def no_object(bucket: str, name: str) -> Refused:
    """404 for an object that is not there."""
    return Refused(404, "notFound", f"No such object: {bucket}/{name}")


def check_bucket_name(name: str) -> None:
    """Refuses a bucket's name that breaks the rules.

    Raises: Refused 400. Source: https://cloud.google.com/storage/docs/buckets#naming
    """
    parts = name.split(".")
    ok = (
        re.fullmatch(r"[a-z0-9][a-z0-9_.-]+[a-z0-9]", name) is not None
        and len(name) <= (222 if len(parts) > 1 else 63)
        and all(1 <= len(part) <= 63 for part in parts)
        and not name.startswith("goog")
        and not re.search(r"google|g00gle", name)
        and not _is_address(name)
    )
    if not ok:
        raise Refused(400, "invalid", f"Invalid bucket name: '{name}'", location=("parameter", "bucket"))


def check_object_name(name: str) -> None:
    """Refuses an object's name that breaks the rules.

    Raises: Refused 400. Source: https://cloud.google.com/storage/docs/objects#naming
    """
    problem = ""
    if not name:
        # Source: https://cloud.google.com/storage/docs/json_api/v1/status-codes#400-bad-request ("required")
        raise Refused(400, "required", "Required")
    if len(name.encode("utf-8", "surrogatepass")) > 1024:
        problem = "must be at most 1024 bytes when UTF-8 encoded"
    elif "\r" in name or "\n" in name:
        problem = "must not contain carriage return or line feed"
    elif name in (".", ".."):
        problem = "must not be . or .."
    elif name.startswith(".well-known/acme-challenge/"):
        problem = "must not start with .well-known/acme-challenge/"
    if problem:
        raise Refused(400, "invalid", f"Invalid object name: {problem}.", location=("parameter", "name"))


def check_metadata(resource: Mapping[str, object]) -> dict[str, object]:
    """The writable fields of an object resource that a request sent.

    An unknown field is refused. What the real service does with one is not documented; a typo must fail here.

    Raises: Refused 400.
    """
    unknown = sorted(set(resource) - WRITABLE_FIELDS - READ_ONLY_FIELDS)
    if unknown:
        raise Refused(400, "parseError", f"Invalid JSON payload received. Unknown name {', '.join(unknown)}")
    custom = resource.get("metadata") or {}
    if not isinstance(custom, dict) or not all(isinstance(value, str | None) for value in custom.values()):
        raise Refused(400, "parseError", "Invalid JSON payload received. metadata must map strings to strings")
    if sum(len(key.encode()) + len((value or "").encode()) for key, value in custom.items()) > MAX_METADATA_BYTES:
        raise Refused(400, "metadataTooLarge", "Your metadata exceeds the maximum allowed metadata size.")
    return {key: value for key, value in resource.items() if key in WRITABLE_FIELDS}


class Preconditions(msgspec.Struct, frozen=True):
    """What must hold of an object's live generation.

    Source: https://cloud.google.com/storage/docs/request-preconditions
    """

    generation_match: int | None = None
    generation_not_match: int | None = None
    metageneration_match: int | None = None
    metageneration_not_match: int | None = None

    @classmethod
    def from_query(cls, query: Mapping[str, str], *, prefix: str = "if") -> "Preconditions":
        """From ``ifGenerationMatch`` and the like; `prefix` ``ifSource`` for a copy's source. Raises: Refused 400."""
        values = {}
        for field, name in _PRECONDITIONS.items():
            # The client spells one of them ifMetaGenerationNotMatch on uploads (blob.py, 3.17.1): any case will do.
            text = next((query[key] for key in query if key.lower() == (prefix + name).lower()), None)
            if text is None:
                continue
            if not re.fullmatch(r"\d{1,19}", text):
                # Source: https://cloud.google.com/storage/docs/json_api/v1/status-codes#400-bad-request
                raise Refused(400, "invalid", f"Invalid value: {text}", location=("parameter", prefix + name))
            values[field] = int(text)
        return cls(**values)

    def check(self, generation: int, metageneration: int) -> None:
        """Holds what is there (0, 0: nothing is) against the conditions; 0 for a generation means "nothing is there".

        Raises: Refused: 412 when a match fails; 304 when a not-match fails.
        """
        failed = [
            self.generation_match not in (None, generation),
            self.metageneration_match is not None and self.metageneration_match != metageneration,
        ]
        if any(failed):
            raise Refused(
                412,
                "conditionNotMet",
                "At least one of the pre-conditions you specified did not hold.",
                location=("header", "If-Match"),
            )
        if self.generation_not_match == generation or (generation and self.metageneration_not_match == metageneration):
            raise Refused(304, "notModified", "")


_PRECONDITIONS: Final = {
    "generation_match": "GenerationMatch",
    "generation_not_match": "GenerationNotMatch",
    "metageneration_match": "MetagenerationMatch",
    "metageneration_not_match": "MetagenerationNotMatch",
}


def to_glob_pattern(glob: str) -> re.Pattern[str]:
    """A ``matchGlob`` as a regular expression.

    `*` and `?` stop at ``/``, ``**`` does not, ``{a,b}`` chooses. Source:
    https://cloud.google.com/storage/docs/json_api/v1/objects/list#list-objects-and-prefixes-using-glob
    """
    pattern, depth, at = "", 0, 0
    while at < len(glob):
        char = glob[at]
        if glob.startswith("**", at):
            pattern, at = pattern + ".*", at + 2
            continue
        if char == "[" and "]" in glob[at + 2 :]:
            end = glob.index("]", at + 2)
            pattern, at = pattern + glob[at : end + 1].replace("[!", "[^"), end + 1
            continue
        if char == "{":
            depth, piece = depth + 1, "(?:"
        elif char == "}" and depth:
            depth, piece = depth - 1, ")"
        else:
            piece = {"*": "[^/]*", "?": "[^/]", ",": "|" if depth else ","}.get(char, re.escape(char))
        pattern, at = pattern + piece, at + 1
    try:
        return re.compile(pattern, re.DOTALL)
    except re.error as err:
        raise Refused(400, "invalid", f"Invalid glob pattern: {glob}", location=("parameter", "matchGlob")) from err


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
