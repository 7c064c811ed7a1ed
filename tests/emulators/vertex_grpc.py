"""Vertex AI's gRPC front over `VertexCore`, with TLS by a certificate of its own.

The product's client speaks TLS to whatever `api_endpoint` it is given, so that this front has a certificate;
GRPC_DEFAULT_SSL_ROOTS_FILE_PATH names it to clients.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from tests.emulators.certificate import make_certificate
from tests.emulators.vertex_core import REQUESTS, ConnectionDropped, VertexCore
from tests.emulators.vertex_errors import ServiceError

_SERVICE = "google.cloud.aiplatform.v1.JobService"


def start_grpc_server(core: VertexCore, port: int, certificate: Path) -> tuple[grpc.Server, int]:
    """Serves `core` on localhost; writes the certificate that clients must trust. Returns the server and its port."""
    key_pem, certificate_pem = make_certificate()
    certificate.write_bytes(certificate_pem)
    server = grpc.server(ThreadPoolExecutor(16, thread_name_prefix="vertex-grpc"))
    handlers = {
        method: grpc.unary_unary_rpc_method_handler(
            _serve(core, method),
            request_deserializer=message.FromString,
            response_serializer=lambda answer: answer.SerializeToString(),
        )
        for method, message in REQUESTS.items()
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
    credentials = grpc.ssl_server_credentials([(key_pem, certificate_pem)])
    bound = server.add_secure_port(f"127.0.0.1:{port}", credentials)
    server.start()
    return server, bound


def _serve(core: VertexCore, method: str) -> Callable[[Any, grpc.ServicerContext], Any]:
    def serve(request: Any, context: grpc.ServicerContext) -> Any:
        metadata = {str(key): str(value) for key, value in context.invocation_metadata()}
        try:
            return core.invoke(method, request, token=metadata.get("authorization", "").removeprefix("Bearer "))
        except ServiceError as err:
            _abort(context, err)
        except ConnectionDropped:
            # A call cannot close the connection under it; this is what a client sees when one is lost.
            context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")

    return serve


def _abort(context: grpc.ServicerContext, err: ServiceError) -> NoReturn:
    status = status_pb2.Status(code=err.code, message=err.message)
    if err.violations:
        violation = error_details_pb2.BadRequest.FieldViolation
        details = error_details_pb2.BadRequest(
            field_violations=[violation(field=name, description=text) for name, text in err.violations]
        )
        packed = any_pb2.Any()
        packed.Pack(details)
        status.details.append(packed)
    assert err.code != code_pb2.OK
    context.abort_with_status(rpc_status.to_status(status))
    raise AssertionError("abort raises")
