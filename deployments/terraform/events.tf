# A job ended -> Pub/Sub -> the events service. Two hints; serving asks Vertex AI before it believes either,
# and reconcile finds what neither told.
resource "google_pubsub_topic" "hints" {
  for_each = toset(["logs", "objects"])
  name     = "switchyard-training-${each.key}"
  # What no one has taken for a day, reconcile has found long ago.
  message_retention_duration = "86400s"
  depends_on                 = [google_project_service.api]
}

# What the training service itself logs of a job (its machines' own output is another task_name).
resource "google_logging_project_sink" "jobs" {
  name                   = "switchyard-training-jobs"
  destination            = "pubsub.googleapis.com/${google_pubsub_topic.hints["logs"].id}"
  filter                 = "resource.type=\"ml_job\" AND resource.labels.task_name=\"service\""
  unique_writer_identity = true
}

resource "google_pubsub_topic_iam_member" "sink" {
  topic  = google_pubsub_topic.hints["logs"].id
  role   = "roles/pubsub.publisher"
  member = google_logging_project_sink.jobs.writer_identity
}

data "google_storage_project_service_account" "this" {}

resource "google_pubsub_topic_iam_member" "storage" {
  topic  = google_pubsub_topic.hints["objects"].id
  role   = "roles/pubsub.publisher"
  member = "serviceAccount:${data.google_storage_project_service_account.this.email_address}"
}

# A notification can choose objects by the start of their names only; the subscription below chooses by the end.
resource "google_storage_notification" "runs" {
  bucket             = google_storage_bucket.artifacts.name
  topic              = google_pubsub_topic.hints["objects"].id
  event_types        = ["OBJECT_FINALIZE"]
  object_name_prefix = "${var.artifacts_prefix}/quick_tests/"
  payload_format     = "NONE" # its attributes say everything

  depends_on = [google_pubsub_topic_iam_member.storage]
}

resource "google_pubsub_subscription" "push" {
  for_each = { for name, topic in google_pubsub_topic.hints : name => topic if local.has_image }
  name     = each.value.name
  topic    = each.value.id

  ack_deadline_seconds       = 30
  message_retention_duration = "3600s"

  push_config {
    push_endpoint = "${local.events_url}/events/training-job"
    oidc_token {
      service_account_email = google_service_account.role["push"].email
      audience              = local.events_url
    }
  }

  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }

  expiration_policy {
    ttl = "" # never, however long no one trains
  }

  # A subscription's filter knows hasPrefix and no suffix, so that a function drops what is not ended.json: a snapshot
  # of the metrics every ten seconds, the files of the model. Without it serving would acknowledge each as no hint.
  # Source: https://cloud.google.com/pubsub/docs/smts/udfs-overview (null drops a message)
  dynamic "message_transforms" {
    for_each = each.key == "objects" ? ["onlyEnded"] : []
    content {
      javascript_udf {
        function_name = message_transforms.value
        code          = <<-EOT
          function onlyEnded(message, metadata) {
            return message.attributes.objectId.endsWith("/ended.json") ? message : null;
          }
        EOT
      }
    }
  }

  depends_on = [google_cloud_run_v2_service.web]
}

# Pub/Sub's own agent makes the tokens in the push account's name.
resource "google_service_account_iam_member" "pubsub_makes_tokens" {
  service_account_id = google_service_account.role["push"].name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}
