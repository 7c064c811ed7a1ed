variable "project_id" {
  description = "The Google Cloud project's id; it must have a billing account."
  type        = string
}

variable "region" {
  description = "Where everything runs; jobs, bucket and database in one region pay no transfer between them."
  type        = string
}

variable "bucket_name" {
  description = "The bucket of the runs' folders. Names are global: the project's id in it makes it yours."
  type        = string
}

variable "artifacts_prefix" {
  description = "The folder of the bucket that holds quick_tests/; ARTIFACTS_URI is gs://<bucket>/<prefix>."
  type        = string
  default     = "runs"

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9/_-]*[a-z0-9]$", var.artifacts_prefix))
    error_message = "The prefix must be lowercase letters, digits, - _ and /, without a slash at either end."
  }
}

variable "image_tag" {
  description = "The tag of the three images (trainer, worker, serving) in the repository that this makes. Empty: no services yet, because images need the repository before they can be pushed."
  type        = string
  default     = ""
}

variable "image_digests" {
  description = "The digests of the images (trainer, worker, serving), as docker push says them: sha256:<64 hex digits>. An image without one is named by image_tag."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name, digest in var.image_digests : contains(["trainer", "worker", "serving"], name) && can(regex("^sha256:[0-9a-f]{64}$", digest))])
    error_message = "Each must be trainer, worker or serving, with sha256: and 64 hex digits."
  }
}

variable "prefect_api_url" {
  description = "The Prefect server's API, https://<host>/api, or https://api.prefect.cloud/api/accounts/<id>/workspaces/<id>."
  type        = string
}

variable "prefect_auth" {
  description = "What Prefect's server asks for: none, api_key (Prefect Cloud), or auth_string (a server's own basic authentication). Its value is the secret switchyard-prefect-auth."
  type        = string
  default     = "none"

  validation {
    condition     = contains(["none", "api_key", "auth_string"], var.prefect_auth)
    error_message = "The authentication must be none, api_key or auth_string."
  }
}

variable "prefect_work_pool" {
  description = "The work pool that the worker serves; deployments/deploy.py cloud-run makes it."
  type        = string
  default     = "switchyard-cloud-run"
}

variable "database" {
  description = "cloud_sql: a small Postgres is made here. own: you have one; its URL is put into the secret switchyard-results-url by hand."
  type        = string
  default     = "cloud_sql"

  validation {
    condition     = contains(["cloud_sql", "own"], var.database)
    error_message = "The database must be cloud_sql or own."
  }
}

variable "database_tier" {
  description = "Cloud SQL's machine; the results of thousands of runs fit the smallest."
  type        = string
  default     = "db-f1-micro"
}

variable "readers" {
  description = "Who may open the pages and the API, such as group:team@example.com. allUsers makes them public."
  type        = set(string)
  default     = []
}

variable "api_guard" {
  description = "Who is let in to the pages and the API: iam (the readers above alone), or tokens: everyone whom Cloud Run lets through must also present a token of the secret switchyard-api-tokens. With tokens the readers may be allUsers."
  type        = string
  default     = "iam"

  validation {
    condition     = contains(["iam", "tokens"], var.api_guard)
    error_message = "The guard must be iam or tokens."
  }
}

variable "noncurrent_days" {
  description = "Days that a replaced or deleted object can still be brought back."
  type        = number
  default     = 30
}

variable "checkpoint_days" {
  description = "Days after which a checkpoint is deleted: more than any training and its restarts take (a job's longest timeout is 7)."
  type        = number
  default     = 14
}

variable "billing_account" {
  description = "The billing account's id for a budget with alerts; empty: no budget is made."
  type        = string
  default     = ""
}

variable "monthly_budget" {
  description = "What a month may cost before someone is told (at 50, 90 and 100 %), in the billing account's currency. It stops nothing."
  type        = number
  default     = 100
}
