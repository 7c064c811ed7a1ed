# The results: one Postgres, reached by its socket through Cloud SQL's connector, so that it needs no open address.
resource "google_sql_database_instance" "results" {
  count            = var.database == "cloud_sql" ? 1 : 0
  name             = "switchyard-results"
  database_version = "POSTGRES_16"
  region           = var.region

  settings {
    tier    = var.database_tier
    edition = "ENTERPRISE"

    backup_configuration {
      enabled                        = true
      point_in_time_recovery_enabled = true
    }

    ip_configuration {
      ipv4_enabled = true # the connector's way in; no network is authorised to use it directly
      ssl_mode     = "ENCRYPTED_ONLY"
    }
  }

  deletion_protection = true
  depends_on          = [google_project_service.api]
}

resource "google_sql_database" "results" {
  count    = length(google_sql_database_instance.results)
  name     = "switchyard"
  instance = google_sql_database_instance.results[0].name
}

# The password is in Terraform's state as well: keep the state where only those may read it who may read the database.
resource "random_password" "results" {
  count   = length(google_sql_database_instance.results)
  length  = 32
  special = false # it stands in a URL
}

resource "google_sql_user" "results" {
  count    = length(google_sql_database_instance.results)
  name     = "switchyard"
  instance = google_sql_database_instance.results[0].name
  password = random_password.results[0].result
}

resource "google_project_iam_member" "database_clients" {
  for_each = var.database == "cloud_sql" ? toset(["worker", "serving", "events"]) : toset([])
  project  = var.project_id
  role     = "roles/cloudsql.client"
  member   = google_service_account.role[each.value].member
}

# RESULTS_URL holds the password, and so is a secret as a whole.
resource "google_secret_manager_secret" "results_url" {
  secret_id = "switchyard-results-url"
  replication {
    auto {}
  }
  depends_on = [google_project_service.api]
}

resource "google_secret_manager_secret_version" "results_url" {
  count       = length(google_sql_database_instance.results)
  secret      = google_secret_manager_secret.results_url.id
  secret_data = "postgresql+psycopg://switchyard:${random_password.results[0].result}@/switchyard?host=/cloudsql/${google_sql_database_instance.results[0].connection_name}"
}

# How the worker and the events service prove themselves to Prefect's server (variable prefect_auth). The value is put in
# by hand (docs/google-cloud.md), so that it is in no state.
resource "google_secret_manager_secret" "prefect_auth" {
  secret_id = "switchyard-prefect-auth"
  replication {
    auto {}
  }
  depends_on = [google_project_service.api]
}

# The hashes of the API's tokens (variable api_guard); the value is the file that `switchyard token` writes, put in by
# hand (docs/google-cloud.md).
resource "google_secret_manager_secret" "api_tokens" {
  secret_id = "switchyard-api-tokens"
  replication {
    auto {}
  }
  depends_on = [google_project_service.api]
}

resource "google_secret_manager_secret_iam_member" "results_url_readers" {
  for_each  = toset(["worker", "serving", "events"])
  secret_id = google_secret_manager_secret.results_url.id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.role[each.value].member
}

resource "google_secret_manager_secret_iam_member" "prefect_auth_readers" {
  for_each  = toset(["worker", "events"])
  secret_id = google_secret_manager_secret.prefect_auth.id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.role[each.value].member
}

resource "google_secret_manager_secret_iam_member" "api_tokens_reader" {
  secret_id = google_secret_manager_secret.api_tokens.id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.role["serving"].member
}
