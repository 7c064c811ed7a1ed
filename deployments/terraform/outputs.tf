output "registry" {
  description = "Where the three images are pushed: <registry>/trainer:<tag>, worker, serving."
  value       = local.registry
}

output "serving_url" {
  description = "The pages and the API."
  value       = local.serving_url
}

output "settings" {
  description = "The settings of the machine that runs flows; see .env.example. RESULTS_URL is a secret: switchyard-results-url."
  value       = local.settings
}

output "deploy_environment" {
  description = "What deployments/deploy.py cloud-run reads beside the settings."
  value = {
    WORKER_IMAGE           = local.images.worker
    WORKER_SERVICE_ACCOUNT = google_service_account.role["worker"].email
    CLOUDSQL_INSTANCE      = join("", local.database_sockets)
    # The name of the secret, for the kind of key that the server asks for.
    PREFECT_API_KEY_SECRET         = lookup(local.prefect_auth, "PREFECT_API_KEY", "")
    PREFECT_API_AUTH_STRING_SECRET = lookup(local.prefect_auth, "PREFECT_API_AUTH_STRING", "")
  }
}
