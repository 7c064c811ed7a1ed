"""The errors that Vertex AI answers with, in the form that both fronts send them.

Source: google.rpc.Status, google/rpc/code.proto (numbers and HTTP equivalents), google/rpc/error_details.proto.
"""

from dataclasses import dataclass, field

from google.rpc import code_pb2

# Source: the "HTTP Mapping" comments of google/rpc/code.proto.
HTTP_STATUS = {
    code_pb2.CANCELLED: 499,
    code_pb2.UNKNOWN: 500,
    code_pb2.INVALID_ARGUMENT: 400,
    code_pb2.DEADLINE_EXCEEDED: 504,
    code_pb2.NOT_FOUND: 404,
    code_pb2.ALREADY_EXISTS: 409,
    code_pb2.PERMISSION_DENIED: 403,
    code_pb2.UNAUTHENTICATED: 401,
    code_pb2.RESOURCE_EXHAUSTED: 429,
    code_pb2.FAILED_PRECONDITION: 400,
    code_pb2.ABORTED: 409,
    code_pb2.UNIMPLEMENTED: 501,
    code_pb2.INTERNAL: 500,
    code_pb2.UNAVAILABLE: 503,
}


def to_code(status: int) -> int:
    """The google.rpc.Code that an HTTP status stands for; 400 and 409 stand for two, the first of them is meant."""
    return next((code for code, http in HTTP_STATUS.items() if http == status and code != code_pb2.UNKNOWN), 2)


@dataclass
class ServiceError(Exception):
    """One google.rpc.Status. `violations` are (field, description), as google.rpc.BadRequest has them."""

    code: int
    message: str
    violations: list[tuple[str, str]] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{code_pb2.Code.Name(self.code)}: {self.message}"


def to_actas(account: str) -> str:
    """INVALID_ARGUMENT's words where the caller may not act as the job's service account.

    Source: https://github.com/googleapis/python-aiplatform/issues/1073
    """
    return f"You do not have permission to act as service_account: {account}. (or it may not exist)."


def to_perimeter(denial_id: str) -> str:
    """PERMISSION_DENIED's words where a VPC Service Controls perimeter stands between.

    Source: https://cloud.google.com/vpc-service-controls/docs/troubleshooting
    """
    return f"Request is prohibited by organization's policy. vpcServiceControlsUniqueIdentifier: {denial_id}"


def to_missing(name: str) -> str:
    """NOT_FOUND's words about a resource that a request names.

    No source has Vertex AI's own for these: what is sure is that they name the resource (https://google.aip.dev/193).
    """
    return f"Resource '{name}' was not found."


def invalid(violations: list[tuple[str, str]]) -> ServiceError:
    """INVALID_ARGUMENT over all fields found wrong, in the words that Vertex AI uses for a list of them."""
    listed = "".join(f"\t{n}.Field: {name}; Message: {text}" for n, (name, text) in enumerate(violations, 1))
    return ServiceError(code_pb2.INVALID_ARGUMENT, f"List of found errors:{listed}\t", violations)
