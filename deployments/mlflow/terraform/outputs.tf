output "registry" {
  description = "Where the image is pushed: <registry>/mlflow:<tag>."
  value       = "${var.region}-docker.pkg.dev/${var.project_id}/${google_artifact_registry_repository.images.repository_id}"
}

output "tracking_uri" {
  description = "MLFLOW_TRACKING_URI; with it goes MLFLOW_TRACKING_AUTH=google-id-token."
  value       = "https://${local.host}"
}
