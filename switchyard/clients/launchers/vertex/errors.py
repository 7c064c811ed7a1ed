"""Translates Vertex AI's errors, of both transports, into those of switchyard/core/errors.py."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.protobuf.json_format import ParseError
from requests import exceptions as http

from switchyard.core.errors import BadRequest, BadSetup, NotFound, SwitchyardError, TryAgain

VENDOR_ERRORS = (api.GoogleAPICallError, auth.GoogleAuthError, http.RequestException, ParseError)
"""All errors that a call of the job client raises: by gRPC the first two, by REST the others too."""

_LOG_IN = "credentials must give a token; log in again, or replace the key"
_ACCOUNT = re.compile(r"[a-z0-9-]+@[a-z0-9.-]+\.gserviceaccount\.com")
# A 404 of a create is not always about the project or the region. The words around the name are not documented.
_RESOURCES = {
    "tensorboards": ("TensorBoard", "tensorboards", "tensorboard"),
    "persistentResources": ("persistent resource", "persistent-resources", "persistent_resource"),
}
_RESOURCE = re.compile(
    r"(?:locations/(?P<region>[a-z0-9-]+)/)?(?P<kind>tensorboards|persistentResources)/(?P<id>[A-Za-z0-9-]+)"
)
QUOTA_PAGE = "https://console.cloud.google.com/iam-admin/quotas"


def is_refusal(err: Exception) -> bool:
    """Returns true if the service refused, so that the call had no effect; any other error may have had one."""
    # 409 and 499 are 4xx too, but say that the call was interrupted.
    refusals = (api.BadRequest, api.Unauthorized, api.Forbidden, api.NotFound, api.TooManyRequests)
    # Without a token no request was sent.
    return isinstance(err, (*refusals, auth.GoogleAuthError)) or _lacks_token(err)


@contextmanager
def translated(doing: str, project_id: str) -> Iterator[None]:
    """Raises what the body raises, translated; `doing` says where: ``submit job with key ...``."""
    try:
        yield
    except VENDOR_ERRORS as err:
        raise translate(err, doing, project_id) from err


def translate(err: Exception, doing: str, project_id: str) -> SwitchyardError:
    """Returns the error to raise in place of `err`."""
    said = _read_message(err)
    where = f"Vertex AI could not {doing}"
    match err:
        case api.TooManyRequests():
            return _translate_quota(where, said, project_id)
        case api.NotFound() if (missing := _RESOURCE.search(said)) is not None:
            return BadSetup(_to_missing_resource(where, said, missing))
        case api.NotFound():
            return NotFound(f"{where}: it must exist; Vertex AI says: {said}")
        case api.Forbidden():
            return BadSetup(f"{where}: {_choose_role(said, project_id)}. Vertex AI says: {said}")
        case api.Unauthorized() | auth.DefaultCredentialsError():
            return BadSetup(
                f"{where}: there are no credentials that Google accepts: {said}. On your own machine run "
                "`gcloud auth application-default login`. Elsewhere name a service account's file in "
                "GOOGLE_APPLICATION_CREDENTIALS, or run as a service account"
            )
        case auth.GoogleAuthError() if not (err.retryable or isinstance(err, auth.TransportError)):
            return BadSetup(f"{where}: {_LOG_IN}; got: {said}")
        case _ if _lacks_token(err):
            return BadSetup(f"{where}: {_LOG_IN}; got: {said}")
        case api.BadRequest() if _is_about_acting_as(said):
            return BadSetup(f"{where}: {_choose_role(said, project_id)}. Vertex AI says: {said}")
        case api.BadRequest():
            return BadRequest(f"{where}: the request must be as the service asks; Vertex AI says: {said}")
        case _:
            return TryAgain(f"{where}: no usable answer came ({type(err).__name__}: {said}); try again")


def _lacks_token(err: Exception) -> bool:
    """Returns true if Google refused gRPC a token for good. The call itself says "unavailable", as if it were away.

    The words are all that is left of the reason. Source: https://datatracker.ietf.org/doc/html/rfc6749#section-5.2
    """
    text = str(err)
    refusals = ("invalid_grant", "invalid_client", "invalid_scope", "unauthorized_client")
    return "metadata from plugin failed" in text and any(word in text for word in refusals)


def _translate_quota(where: str, said: str, project_id: str) -> SwitchyardError:
    # The quotas of requests a minute refill by themselves. Those of CPUs and GPUs do not: a job that fits what the
    # project has waits in the queue, one that is refused asks for more than the project's whole limit.
    if "custom_model_training" in said:
        return BadSetup(
            f"{where}: the project's quota must hold the whole machine. Choose a smaller machine or fewer GPUs, or ask "
            f"for more quota in the region at {QUOTA_PAGE}?project={project_id}. Vertex AI says: {said}"
        )
    return TryAgain(f"{where}: a quota of requests a minute is used up, and refills; try again. Vertex AI says: {said}")


def _choose_role(said: str, project_id: str) -> str:
    """Says what to change about a permission error, by the words that tell the cases apart."""
    lowered = said.lower()
    if _is_about_acting_as(said):
        account = _ACCOUNT.search(said)
        name = account[0] if account else "ACCOUNT"
        return (
            "the caller may not act as the job's service account, or it does not exist. Grant the caller "
            f"roles/iam.serviceAccountUser on that account: `gcloud iam service-accounts add-iam-policy-binding {name} "
            "--member CALLER --role roles/iam.serviceAccountUser`"
        )
    if "organization's policy" in lowered or "vpcservicecontrols" in lowered or "vpc service controls" in lowered:
        return (
            "a VPC Service Controls perimeter blocks the call, and no role helps. Call from inside it, or "
            "have its administrator add an ingress rule for this caller and aiplatform.googleapis.com; the denial's id "
            "leads to its entry: https://cloud.google.com/vpc-service-controls/docs/troubleshooting"
        )
    if "has not been used" in lowered or "is disabled" in lowered or "service_disabled" in lowered:
        return f"the API is off. Turn it on: `gcloud services enable aiplatform.googleapis.com --project {project_id}`"
    return (
        f"the caller needs the role roles/aiplatform.user on project {project_id} "
        "(GCP_PROJECT_ID; Google gives the same answer for a project that does not exist)"
    )


def _is_about_acting_as(said: str) -> bool:
    """Returns true for both of Vertex AI's codes for it, INVALID_ARGUMENT and PERMISSION_DENIED.

    Source: https://github.com/googleapis/python-aiplatform/issues/1073
    """
    lowered = said.lower()
    return "actas" in lowered or "act as" in lowered


def _to_missing_resource(where: str, said: str, missing: re.Match[str]) -> str:
    kind, command, field = _RESOURCES[missing["kind"]]
    place = f" in {missing['region']}" if missing["region"] else ""
    region = missing["region"] or "REGION"
    return (
        f"{where}: the {kind} {missing['id']!r}{place} that machine.{field} names does not exist. List those "
        f"that there are: `gcloud ai {command} list --region {region}`, or leave the field empty. Vertex AI says: "
        f"{said}"
    )


def _read_message(err: Exception) -> str:
    """Returns Vertex AI's own words: REST puts the method and the whole address before them."""
    text = err.message if isinstance(err, api.GoogleAPICallError) else str(err)
    text = re.sub(r"^(GET|POST|DELETE) https?://\S+: ", "", str(text))
    return " ".join(text.split()) or type(err).__name__
