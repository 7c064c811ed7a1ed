# One service account a role, and what each may do: nothing is granted on the project that could be granted on one thing.
locals {
  roles = {
    trainer = "runs the training in Vertex AI's container"
    worker  = "runs the flows: submits and watches jobs, publishes"
    serving = "serves the results: reads the database"
    events  = "takes pushes: looks at a job, records and announces its end"
    push    = "is who Pub/Sub pushes as; may do nothing"
  }
}

resource "google_service_account" "role" {
  for_each     = local.roles
  account_id   = "switchyard-${each.key}"
  display_name = "Switchyard: ${each.value}"
  depends_on   = [google_project_service.api]
}

# The bucket: the trainer replaces its metrics file and reads data, so it needs create and delete on objects; the worker
# reads all: what it left, and data. Serving reads the copies of MLflow's artifacts, and nothing else of it.
resource "google_storage_bucket_iam_member" "trainer" {
  bucket = google_storage_bucket.artifacts.name
  role   = "roles/storage.objectUser"
  member = google_service_account.role["trainer"].member
}

resource "google_storage_bucket_iam_member" "worker" {
  bucket = google_storage_bucket.artifacts.name
  role   = "roles/storage.objectViewer"
  member = google_service_account.role["worker"].member
}

resource "google_storage_bucket_iam_member" "serving" {
  bucket = google_storage_bucket.artifacts.name
  role   = "roles/storage.objectViewer"
  member = google_service_account.role["serving"].member

  condition {
    title      = "the copies of MLflow's artifacts"
    expression = "resource.name.startsWith('projects/_/buckets/${google_storage_bucket.artifacts.name}/objects/${var.artifacts_prefix}/mlflow-artifacts/')"
  }
}

# What flows write themselves: verify its manifests, export the copy of MLflow, backfill --full the metrics files of past
# runs. The last finds its own files on a second try, and Cloud Storage answers who may create but not delete with 403
# where an object is there: so it is the role of both, below the artifacts' folder and nowhere else.
# Source: https://cloud.google.com/storage/docs/access-control/iam#conditions
resource "google_storage_bucket_iam_member" "worker_writes" {
  bucket = google_storage_bucket.artifacts.name
  role   = "roles/storage.objectUser"
  member = google_service_account.role["worker"].member

  condition {
    title      = "below the artifacts' folder"
    expression = "resource.name.startsWith('projects/_/buckets/${google_storage_bucket.artifacts.name}/objects/${var.artifacts_prefix}/')"
  }
}

# Without it a container that fails leaves no log, and the job says only "exited with a non-zero status of 1".
resource "google_project_iam_member" "trainer_logs" {
  project = var.project_id
  role    = "roles/logging.logWriter"
  member  = google_service_account.role["trainer"].member
}

# Jobs: create, list, get, cancel. roles/aiplatform.user could also deploy models and read data sets.
resource "google_project_iam_custom_role" "submitter" {
  role_id = "switchyardSubmitter"
  title   = "Switchyard: submits and watches training jobs"
  permissions = [
    "aiplatform.customJobs.create",
    "aiplatform.customJobs.list",
    "aiplatform.customJobs.get",
    "aiplatform.customJobs.cancel",
  ]
}

resource "google_project_iam_custom_role" "watcher" {
  role_id     = "switchyardWatcher"
  title       = "Switchyard: looks at a training job"
  permissions = ["aiplatform.customJobs.get"]
}

resource "google_project_iam_member" "worker_jobs" {
  project = var.project_id
  role    = google_project_iam_custom_role.submitter.id
  member  = google_service_account.role["worker"].member
}

resource "google_project_iam_member" "events_jobs" {
  project = var.project_id
  role    = google_project_iam_custom_role.watcher.id
  member  = google_service_account.role["events"].member
}

# A flow asks for the digest that the trainer's tag names, so that the run's row names the very image that it ran.
resource "google_artifact_registry_repository_iam_member" "worker_reads_digests" {
  location   = google_artifact_registry_repository.images.location
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.reader"
  member     = google_service_account.role["worker"].member
}

# A job runs as the trainer: who submits it must be allowed to say so.
resource "google_service_account_iam_member" "worker_acts_as_trainer" {
  service_account_id = google_service_account.role["trainer"].name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.role["worker"].member
}

# The Cloud Run work pool: the worker makes a job of its own for each flow run, starts it, watches it and deletes it. So
# there is no job yet that this could be granted on; and roles/run.developer could also replace the services' images. What
# Prefect's worker calls is these: prefect_gcp/models/cloud_run_v2.py.
resource "google_project_iam_custom_role" "flow_starter" {
  role_id = "switchyardFlowStarter"
  title   = "Switchyard: starts flow runs as Cloud Run jobs"
  permissions = [
    "run.executions.delete",
    "run.executions.get",
    "run.executions.list",
    "run.jobs.create",
    "run.jobs.delete",
    "run.jobs.get",
    "run.jobs.run",
    "run.operations.get",
  ]
}

resource "google_project_iam_member" "worker_runs_flows" {
  project = var.project_id
  role    = google_project_iam_custom_role.flow_starter.id
  member  = google_service_account.role["worker"].member
}

resource "google_service_account_iam_member" "worker_acts_as_worker" {
  service_account_id = google_service_account.role["worker"].name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.role["worker"].member
}
