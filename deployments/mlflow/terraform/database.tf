# One Postgres, reached by its socket through Cloud SQL's connector, so that it needs no open address.
resource "google_sql_database_instance" "mlflow" {
  name             = "switchyard-mlflow"
  database_version = "POSTGRES_16"
  region           = var.region

  # Terraform refuses to delete it; so does Cloud SQL itself, for every caller (below).
  deletion_protection = true

  # What is left when it is deleted all the same. `gcloud sql instances delete` alone takes every backup with it.
  final_backup_description = "switchyard-mlflow, before it was deleted"

  settings {
    tier                        = var.database_tier
    edition                     = "ENTERPRISE"
    deletion_protection_enabled = true
    retain_backups_on_delete    = true

    final_backup_config {
      enabled        = true
      retention_days = var.final_backup_days
    }

    backup_configuration {
      enabled                        = true
      start_time                     = "03:00"
      point_in_time_recovery_enabled = true
      transaction_log_retention_days = 7

      backup_retention_settings {
        retained_backups = var.backup_days
        retention_unit   = "COUNT"
      }
    }

    ip_configuration {
      ipv4_enabled = true # the connector's way in; no network is authorised to use it directly
      ssl_mode     = "ENCRYPTED_ONLY"
    }
  }

  lifecycle {
    precondition {
      condition     = var.max_instances * local.connections_of_an_instance <= var.database_connections - 3
      error_message = "The instances of the server may open more connections than the database takes. Lower max_instances or pool_size, or take a larger database_tier and set database_connections."
    }
  }

  depends_on = [google_project_service.api]
}

resource "google_sql_database" "mlflow" {
  name     = "mlflow"
  instance = google_sql_database_instance.mlflow.name
}

# The password is in Terraform's state as well: keep the state where only those may read it who may read the database.
resource "random_password" "mlflow" {
  length  = 32
  special = false # it stands in a URL
}

resource "google_sql_user" "mlflow" {
  name     = "mlflow"
  instance = google_sql_database_instance.mlflow.name
  password = random_password.mlflow.result
}

resource "google_project_iam_member" "database_client" {
  project = var.project_id
  role    = "roles/cloudsql.client"
  member  = google_service_account.mlflow.member
}

# MLFLOW_BACKEND_STORE_URI holds the password, and so is a secret as a whole.
resource "google_secret_manager_secret" "store_uri" {
  secret_id = "switchyard-mlflow-store-uri"
  replication {
    auto {}
  }
  depends_on = [google_project_service.api]
}

resource "google_secret_manager_secret_version" "store_uri" {
  secret      = google_secret_manager_secret.store_uri.id
  secret_data = "postgresql://mlflow:${random_password.mlflow.result}@/mlflow?host=/cloudsql/${google_sql_database_instance.mlflow.connection_name}"
}

resource "google_secret_manager_secret_iam_member" "store_uri" {
  secret_id = google_secret_manager_secret.store_uri.id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.mlflow.member
}
