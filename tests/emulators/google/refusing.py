"""The errors that Google's APIs answer with."""

from typing import Any

# Source: the "HTTP Mapping" comments of google/rpc/code.proto.
_STATUS = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 409: "ABORTED",
    412: "FAILED_PRECONDITION", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 501: "UNIMPLEMENTED", 503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}  # fmt: skip
# Source: https://cloud.google.com/storage/docs/json_api/v1/status-codes, whose reasons the older APIs share.
_REASON = {
    400: "invalid", 401: "authError", 403: "forbidden", 404: "notFound", 409: "conflict", 412: "conditionNotMet",
    429: "rateLimitExceeded", 500: "backendError", 503: "backendError",
}  # fmt: skip


class Refused(Exception):
    """An error answer."""

    def __init__(
        self,
        code: int,
        message: str,
        *,
        status: str = "",
        reason: str = "",
        details: list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message
        self.status = status or _STATUS.get(code, "UNKNOWN")
        self.reason = reason or _REASON.get(code, "unknown")
        self.details = details or []

    def to_body(self) -> dict[str, Any]:
        """As both forms have it: google.rpc.Status (https://google.aip.dev/193) and the older list of errors."""
        error: dict[str, Any] = {
            "code": self.code,
            "message": self.message,
            "status": self.status,
            "errors": [{"message": self.message, "domain": "global", "reason": self.reason}],
        }
        if self.details:
            error["details"] = self.details
        return {"error": error}


def denied(permission: str, resource: str, api: str) -> Refused:
    """403, in the words of each API. That a resource is not there is not said to one who may not see it.

    Source: https://cloud.google.com/iam/docs/permission-error-messages; sqladmin names no permission
    (https://github.com/hashicorp/terraform-provider-google/issues/11592); Storage's words are those of
    https://cloud.google.com/storage/docs/troubleshooting#access-permission
    """
    if api == "sqladmin":
        return Refused(403, "The client is not authorized to make this request.", reason="notAuthorized")
    if api == "storage":
        said = (
            f"tester@example.com does not have {permission} access to the Google Cloud Storage bucket. Permission "
            f"'{permission}' denied on resource (or it may not exist)."
        )
        return Refused(403, said, reason="forbidden")
    info = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "IAM_PERMISSION_DENIED",
        "domain": f"{api}.googleapis.com",
        "metadata": {"permission": permission, "resource": resource},
    }
    return Refused(
        403, f"Permission '{permission}' denied on resource '{resource}' (or it may not exist).", details=[info]
    )
