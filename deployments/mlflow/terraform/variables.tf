variable "project_id" {
  description = "The Google Cloud project's id; it must have a billing account."
  type        = string
}

variable "region" {
  description = "Where the server, its database and its bucket are; in one region they pay no transfer."
  type        = string
}

variable "bucket_name" {
  description = "The bucket of the runs' artifacts. Names are global: the project's id in it makes it yours."
  type        = string
}

variable "upgrade_image_tag" {
  description = "The tag of the image, in the repository that this makes, of the job that makes and upgrades the database. Empty: no job yet, because an image needs the repository before it can be pushed."
  type        = string
  default     = ""
}

variable "image_tag" {
  description = "The tag of the server's image; set it once the job has run with the same one. Empty: no server yet."
  type        = string
  default     = ""
}

variable "callers" {
  description = "Who may call the server, such as group:team@example.com or serviceAccount:...; each can read and replace everything in it."
  type        = set(string)
  default     = []

  validation {
    condition     = length(setintersection(var.callers, ["allUsers", "allAuthenticatedUsers"])) == 0
    error_message = "The server must not be open to everyone: everyone who may call it can read and replace every artifact. Name groups or accounts."
  }
}

variable "extra_hosts" {
  description = "Names of your own under which the server is called, beside those that Cloud Run gives it."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for host in var.extra_hosts : can(regex("^[a-z0-9.-]+$", host))])
    error_message = "Each must be a host's name; patterns are refused."
  }
}

variable "database_tier" {
  description = "Cloud SQL's machine. Its connections limit the instances of the server: see database_connections."
  type        = string
  default     = "db-f1-micro"
}

variable "database_connections" {
  description = "How many connections that machine takes; db-f1-micro takes 25. Three are Postgres' own."
  type        = number
  default     = 25
}

variable "max_instances" {
  description = "Instances of the server at once."
  type        = number
  default     = 2
}

variable "pool_size" {
  description = "Connections that each of an instance's two pools keeps; each may open one more."
  type        = number
  default     = 2
}

variable "backup_days" {
  description = "Daily backups that are kept."
  type        = number
  default     = 30
}

variable "final_backup_days" {
  description = "Days that the last backup is kept once the database is deleted."
  type        = number
  default     = 365
}

variable "noncurrent_days" {
  description = "Days that a replaced or deleted artifact can still be brought back."
  type        = number
  default     = 30
}
