resource "google_cloud_run_v2_service" "mlflow" {
  count    = var.image_tag == "" ? 0 : 1
  name     = "switchyard-mlflow"
  location = var.region
  # It holds nothing that could be lost: runs are in the database, artifacts in the bucket.
  deletion_protection  = false
  invoker_iam_disabled = false # Cloud Run asks who calls; MLflow does not

  template {
    service_account                  = google_service_account.mlflow.email
    max_instance_request_concurrency = 20
    timeout                          = "600s" # an artifact may be large

    scaling {
      min_instance_count = 0
      max_instance_count = var.max_instances
    }

    volumes {
      name = "cloudsql"
      cloud_sql_instance {
        instances = [google_sql_database_instance.mlflow.connection_name]
      }
    }

    containers {
      image = "${local.registry}/mlflow:${var.image_tag}"
      args  = ["serve"]

      ports {
        container_port = 8080
      }

      resources {
        # Two processes took 424 MB, idle. Files that are handed through are in memory too: Cloud Run's disk is memory.
        # One processor, one worker: on a starved one, MLflow 3's supervisor killed the worker that was answering.
        limits = {
          cpu    = "1"
          memory = "2Gi"
        }
        startup_cpu_boost = true
      }

      # MLflow 3 took 28 to 44 s to answer on a busy machine: 120 s.
      startup_probe {
        initial_delay_seconds = 5
        period_seconds        = 5
        failure_threshold     = 24
        http_get {
          path = "/health"
        }
      }

      dynamic "env" {
        for_each = local.settings
        content {
          name  = env.key
          value = env.value
        }
      }

      env {
        name = "MLFLOW_BACKEND_STORE_URI"
        value_source {
          secret_key_ref {
            secret  = google_secret_manager_secret.store_uri.secret_id
            version = "latest"
          }
        }
      }

      volume_mounts {
        name       = "cloudsql"
        mount_path = "/cloudsql"
      }
    }
  }

  depends_on = [
    google_secret_manager_secret_iam_member.store_uri,
    google_secret_manager_secret_version.store_uri,
  ]
}

# Who may call it. No one else can, and everyone here can read and replace everything in it.
resource "google_cloud_run_v2_service_iam_member" "callers" {
  for_each = var.image_tag == "" ? toset([]) : var.callers
  name     = google_cloud_run_v2_service.mlflow[0].name
  location = var.region
  role     = "roles/run.invoker"
  member   = each.value
}

# Makes the tables, and brings them to a newer image's schema; the server never does, and starts with no other schema than
# its own. So the job has its tag first, runs, and then the server gets the same one:
#   gcloud run jobs execute switchyard-mlflow-upgrade --region <region> --wait
resource "google_cloud_run_v2_job" "upgrade" {
  count               = var.upgrade_image_tag == "" ? 0 : 1
  name                = "switchyard-mlflow-upgrade"
  location            = var.region
  deletion_protection = false

  template {
    task_count  = 1
    parallelism = 1

    template {
      service_account = google_service_account.mlflow.email
      max_retries     = 0
      timeout         = "3600s"

      volumes {
        name = "cloudsql"
        cloud_sql_instance {
          instances = [google_sql_database_instance.mlflow.connection_name]
        }
      }

      containers {
        image = "${local.registry}/mlflow:${var.upgrade_image_tag}"
        args  = ["upgrade"]

        resources {
          limits = {
            cpu    = "1"
            memory = "1Gi"
          }
        }

        env {
          name = "MLFLOW_BACKEND_STORE_URI"
          value_source {
            secret_key_ref {
              secret  = google_secret_manager_secret.store_uri.secret_id
              version = "latest"
            }
          }
        }

        volume_mounts {
          name       = "cloudsql"
          mount_path = "/cloudsql"
        }
      }
    }
  }

  depends_on = [
    google_secret_manager_secret_iam_member.store_uri,
    google_secret_manager_secret_version.store_uri,
  ]
}
