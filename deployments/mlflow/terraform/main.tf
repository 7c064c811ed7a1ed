# An MLflow tracking server on Cloud Run: docs/mlflow-server.md. It stands alone: nothing of ../../terraform is needed.
locals {
  services = [
    "artifactregistry.googleapis.com",
    "iam.googleapis.com",
    "run.googleapis.com",
    "secretmanager.googleapis.com",
    "sqladmin.googleapis.com",
    "storage.googleapis.com",
  ]
  registry = "${var.region}-docker.pkg.dev/${var.project_id}/${google_artifact_registry_repository.images.repository_id}"
  # The address that Cloud Run gives every service, known before the service is made. Its older, random one is refused
  # unless extra_hosts names it.
  host  = "switchyard-mlflow-${data.google_project.this.number}.${var.region}.run.app"
  hosts = join(",", concat([local.host], sort(tolist(var.extra_hosts))))

  # Two pools, runs and models, each with one more than its size; and one of each that MLflow's starting process keeps.
  connections_of_an_instance = 2 * (var.pool_size + 1) + 2

  # Those of deployments/mlflow/entrypoint.py. The job reads the database's alone; no secret is among them.
  settings = {
    MLFLOW_ARTIFACTS_DESTINATION        = "gs://${google_storage_bucket.artifacts.name}/mlflow-artifacts"
    MLFLOW_SERVER_ALLOWED_HOSTS         = local.hosts
    MLFLOW_BEHIND                       = "iam"
    MLFLOW_SQLALCHEMYSTORE_POOL_SIZE    = tostring(var.pool_size)
    MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW = "1"
  }
}

data "google_project" "this" {}

resource "google_project_service" "api" {
  for_each = toset(local.services)
  service  = each.value
  # Others in the project may use them too.
  disable_on_destroy = false
}

resource "google_artifact_registry_repository" "images" {
  repository_id = "switchyard-mlflow"
  location      = var.region
  format        = "DOCKER"
  description   = "The MLflow server's image."
  depends_on    = [google_project_service.api]
}

# An identity of its own: its rights are the bucket, the database and one secret.
resource "google_service_account" "mlflow" {
  account_id   = "switchyard-mlflow"
  display_name = "Switchyard: the MLflow server"
  depends_on   = [google_project_service.api]
}

resource "google_storage_bucket" "artifacts" {
  name                        = var.bucket_name
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  # Everyone who may call the server may replace an artifact: what was there can be brought back for a while.
  versioning {
    enabled = true
  }

  soft_delete_policy {
    retention_duration_seconds = 604800 # 7 days
  }

  lifecycle_rule {
    condition {
      days_since_noncurrent_time = var.noncurrent_days
    }
    action {
      type = "Delete"
    }
  }

  # An upload that was cut is paid for until it is ended.
  lifecycle_rule {
    condition {
      age = 7
    }
    action {
      type = "AbortIncompleteMultipartUpload"
    }
  }

  depends_on = [google_project_service.api]
}

resource "google_storage_bucket_iam_member" "mlflow" {
  bucket = google_storage_bucket.artifacts.name
  role   = "roles/storage.objectUser"
  member = google_service_account.mlflow.member
}
