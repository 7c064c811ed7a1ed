locals {
  services = [
    "aiplatform.googleapis.com",
    "artifactregistry.googleapis.com",
    "billingbudgets.googleapis.com",
    "iam.googleapis.com",
    "logging.googleapis.com",
    "pubsub.googleapis.com",
    "run.googleapis.com",
    "secretmanager.googleapis.com",
    "sqladmin.googleapis.com",
    "storage.googleapis.com",
  ]
  registry  = "${var.region}-docker.pkg.dev/${var.project_id}/${google_artifact_registry_repository.images.repository_id}"
  artifacts = "gs://${google_storage_bucket.artifacts.name}/${var.artifacts_prefix}"
  # By digest where one is given: a tag can be moved to another image, a digest cannot.
  images = {
    trainer = contains(keys(var.image_digests), "trainer") ? "${local.registry}/trainer@${lookup(var.image_digests, "trainer", "")}" : "${local.registry}/trainer:${var.image_tag}"
    worker  = contains(keys(var.image_digests), "worker") ? "${local.registry}/worker@${lookup(var.image_digests, "worker", "")}" : "${local.registry}/worker:${var.image_tag}"
    serving = contains(keys(var.image_digests), "serving") ? "${local.registry}/serving@${lookup(var.image_digests, "serving", "")}" : "${local.registry}/serving:${var.image_tag}"
  }
  has_image = var.image_tag != "" || length(var.image_digests) == 3
  # Addresses that Cloud Run gives every service, known before the service is made.
  serving_url = "https://switchyard-serving-${data.google_project.this.number}.${var.region}.run.app"
  events_url  = "https://switchyard-events-${data.google_project.this.number}.${var.region}.run.app"

  # What the worker and serving both read; see .env.example. Nothing here is a secret.
  settings = {
    TRAINING_BACKEND       = "vertex"
    ARTIFACTS_URI          = local.artifacts
    GCP_PROJECT_ID         = var.project_id
    GCP_REGION             = var.region
    TRAINER_IMAGE          = local.images.trainer
    VERTEX_SERVICE_ACCOUNT = google_service_account.role["trainer"].email
    SERVING_URL            = local.serving_url
    STATE_DIR              = "/srv/switchyard/home/state"
    PREFECT_API_URL        = var.prefect_api_url
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
  repository_id = "switchyard"
  location      = var.region
  format        = "DOCKER"
  description   = "The trainer's, the worker's and serving's images."

  cleanup_policies {
    id     = "keep-ten"
    action = "KEEP"
    most_recent_versions {
      keep_count = 10
    }
  }
  cleanup_policies {
    id     = "delete-old"
    action = "DELETE"
    condition {
      older_than = "7776000s" # 90 days
    }
  }

  depends_on = [google_project_service.api]
}
