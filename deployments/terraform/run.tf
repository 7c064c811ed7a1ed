locals {
  database_sockets = google_sql_database_instance.results[*].connection_name
  # The variable that Prefect's client reads, and the secret with its value; none where the server asks for none.
  prefect_auth = {
    none        = {}
    api_key     = { PREFECT_API_KEY = google_secret_manager_secret.prefect_auth.secret_id }
    auth_string = { PREFECT_API_AUTH_STRING = google_secret_manager_secret.prefect_auth.secret_id }
  }[var.prefect_auth]

  # The tokens' hashes, as a file of the service that people read; its secret's value is put in by hand.
  has_tokens    = var.api_guard == "tokens"
  tokens_folder = "/secrets/api-tokens"
  tokens_file   = "${local.tokens_folder}/tokens.json"

  # Two services of one image: what people read, and what Pub/Sub pushes to.
  web = {
    # Cloud Run checks who may invoke it (the readers below).
    serving = {
      args     = []
      settings = merge({ SERVING_BEHIND = "iam" }, local.has_tokens ? { API_TOKENS_FILE = local.tokens_file } : {})
      secrets  = {}
    }
    events = {
      args    = ["--only-events"]
      secrets = local.prefect_auth
      settings = {
        PUSH_AUDIENCE        = local.events_url
        PUSH_SERVICE_ACCOUNT = google_service_account.role["push"].email
      }
    }
  }
}

resource "google_cloud_run_v2_service" "web" {
  # Not `has_image ? web : {}`: both ends of a condition must have one type.
  for_each = { for name, service in local.web : name => service if local.has_image }
  name     = "switchyard-${each.key}"
  location = var.region
  # It holds nothing that could be lost; so with the two below.
  deletion_protection = false

  # Cloud Run takes the signature off each token that it has checked itself, and the events' own check needs it. A
  # caller who reaches that service finds one endpoint, which refuses everyone but Pub/Sub.
  # Source: https://cloud.google.com/run/docs/troubleshooting#signature-removed
  invoker_iam_disabled = each.key == "events"

  template {
    service_account = google_service_account.role[each.key].email

    scaling {
      min_instance_count = 0
      # One instance counts what it asks of Vertex AI in a minute; pushes are short, and wait for one another.
      max_instance_count = each.key == "events" ? 1 : 3
    }

    dynamic "volumes" {
      for_each = length(local.database_sockets) > 0 ? ["cloudsql"] : []
      content {
        name = volumes.value
        cloud_sql_instance {
          instances = local.database_sockets
        }
      }
    }

    dynamic "volumes" {
      for_each = each.key == "serving" && local.has_tokens ? ["api-tokens"] : []
      content {
        name = volumes.value
        secret {
          secret = google_secret_manager_secret.api_tokens.secret_id
          items {
            version = "latest"
            path    = basename(local.tokens_file)
          }
        }
      }
    }

    containers {
      image = local.images.serving
      args  = concat(["--host", "0.0.0.0", "--port", "8080"], each.value.args)

      ports {
        container_port = 8080
      }

      resources {
        limits = {
          cpu    = "1"
          memory = "1Gi"
        }
        startup_cpu_boost = true
      }

      startup_probe {
        initial_delay_seconds = 5
        period_seconds        = 5
        failure_threshold     = 24
        http_get {
          path = "/health"
        }
      }

      dynamic "env" {
        for_each = merge(local.settings, each.value.settings)
        content {
          name  = env.key
          value = env.value
        }
      }

      dynamic "env" {
        for_each = merge({ RESULTS_URL = google_secret_manager_secret.results_url.secret_id }, each.value.secrets)
        content {
          name = env.key
          value_source {
            secret_key_ref {
              secret  = env.value
              version = "latest"
            }
          }
        }
      }

      dynamic "volume_mounts" {
        for_each = length(local.database_sockets) > 0 ? ["cloudsql"] : []
        content {
          name       = volume_mounts.value
          mount_path = "/cloudsql"
        }
      }

      dynamic "volume_mounts" {
        for_each = each.key == "serving" && local.has_tokens ? ["api-tokens"] : []
        content {
          name       = volume_mounts.value
          mount_path = local.tokens_folder
        }
      }
    }
  }

  depends_on = [
    google_secret_manager_secret_iam_member.results_url_readers,
    google_secret_manager_secret_iam_member.api_tokens_reader,
  ]
}

# Who may open the pages and the API.
resource "google_cloud_run_v2_service_iam_member" "readers" {
  for_each = local.has_image ? var.readers : toset([])
  name     = google_cloud_run_v2_service.web["serving"].name
  location = var.region
  role     = "roles/run.invoker"
  member   = each.value
}

# The worker only asks Prefect for flow runs and starts a Cloud Run job for each, so that one small instance is enough.
# It polls all the time: its processor must not be taken away between requests.
resource "google_cloud_run_v2_service" "worker" {
  count               = local.has_image ? 1 : 0
  name                = "switchyard-worker"
  location            = var.region
  deletion_protection = false
  ingress             = "INGRESS_TRAFFIC_INTERNAL_ONLY"

  template {
    service_account = google_service_account.role["worker"].email

    scaling {
      min_instance_count = 1
      max_instance_count = 1
    }

    containers {
      image   = local.images.worker
      command = ["python", "-m", "prefect", "worker", "start"]
      args    = ["--pool", var.prefect_work_pool, "--with-healthcheck"]

      ports {
        container_port = 8080
      }

      resources {
        cpu_idle = false
        limits = {
          cpu    = "1"
          memory = "1Gi"
        }
      }

      startup_probe {
        initial_delay_seconds = 10
        period_seconds        = 10
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

      dynamic "env" {
        for_each = local.prefect_auth
        content {
          name = env.key
          value_source {
            secret_key_ref {
              secret  = env.value
              version = "latest"
            }
          }
        }
      }
    }
  }

  depends_on = [google_secret_manager_secret_iam_member.results_url_readers]
}

# Brings the results database to the images' schema; run it after every new image:
#   gcloud run jobs execute switchyard-migrate --region <region> --wait
resource "google_cloud_run_v2_job" "migrate" {
  count               = local.has_image ? 1 : 0
  name                = "switchyard-migrate"
  location            = var.region
  deletion_protection = false

  template {
    template {
      service_account = google_service_account.role["worker"].email
      max_retries     = 0

      dynamic "volumes" {
        for_each = length(local.database_sockets) > 0 ? ["cloudsql"] : []
        content {
          name = volumes.value
          cloud_sql_instance {
            instances = local.database_sockets
          }
        }
      }

      containers {
        image   = local.images.worker
        command = ["python", "-m", "flows", "migrate"]

        dynamic "env" {
          for_each = local.settings
          content {
            name  = env.key
            value = env.value
          }
        }

        env {
          name = "RESULTS_URL"
          value_source {
            secret_key_ref {
              secret  = google_secret_manager_secret.results_url.secret_id
              version = "latest"
            }
          }
        }

        dynamic "volume_mounts" {
          for_each = length(local.database_sockets) > 0 ? ["cloudsql"] : []
          content {
            name       = volume_mounts.value
            mount_path = "/cloudsql"
          }
        }
      }
    }
  }

  depends_on = [google_secret_manager_secret_iam_member.results_url_readers]
}
