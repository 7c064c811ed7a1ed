output "registry" {
  description = "Where the image is pushed: <registry>/mlflow:<tag>."
  value       = local.registry
}

output "tracking_uri" {
  description = "MLFLOW_TRACKING_URI; with it goes MLFLOW_TRACKING_AUTH=google-id-token."
  value       = "https://${local.host}"
}
