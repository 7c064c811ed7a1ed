locals {
  # A rule can name the start and the end of a name, and nothing between: so end those below quick_tests/<id>/checkpoints/,
  # and no other file of a run's folder.
  run_folders      = ["${var.artifacts_prefix}/quick_tests/"]
  checkpoint_files = ["/checkpoint.json", "/record.json", ".npy"]
}

resource "google_storage_bucket" "artifacts" {
  name                        = var.bucket_name
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  # A file that a second run of main replaced, or someone deleted, can be brought back for a while.
  versioning {
    enabled = true
  }

  lifecycle_rule {
    condition {
      days_since_noncurrent_time = var.noncurrent_days
    }
    action {
      type = "Delete"
    }
  }

  # training_metrics.json is rewritten during training: of its versions a few are enough.
  lifecycle_rule {
    condition {
      num_newer_versions = 3
      with_state         = "ARCHIVED"
      matches_suffix     = ["/training_metrics.json"]
    }
    action {
      type = "Delete"
    }
  }

  # Checkpoints of a training that ended are deleted by it: of their versions no one wants any back. Those of one that
  # was killed for good stay, and no attempt of another job reads them.
  lifecycle_rule {
    condition {
      days_since_noncurrent_time = 1
      with_state                 = "ARCHIVED"
      matches_prefix             = local.run_folders
      matches_suffix             = local.checkpoint_files
    }
    action {
      type = "Delete"
    }
  }

  lifecycle_rule {
    condition {
      age            = var.checkpoint_days
      matches_prefix = local.run_folders
      matches_suffix = local.checkpoint_files
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
