variable "subscription_id" {
  description = "Azure subscription."
  type        = string
}

variable "prefix" {
  description = "Start of every resource's name."
  type        = string
}

variable "charter_file" {
  description = "The signed charter."
  type        = string
}

variable "node_config_folder" {
  description = "Folder with one NAME.jsonc for each node below."
  type        = string
}

variable "nodes" {
  description = "Availability zone of each node, by region and name."
  type        = map(map(string))
  default = {
    eu-west    = { west-1 = "1", west-2 = "2" }
    eu-central = { central-1 = "1", central-2 = "2" }
  }

  validation {
    condition     = toset(keys(var.nodes)) == toset(["eu-west", "eu-central"])
    error_message = "The regions are eu-west and eu-central."
  }
}

variable "models" {
  description = "Model servers, by region and backend name."
  type = map(map(object({
    zone       = string
    server     = string
    served     = string
    model_path = string
  })))

  validation {
    condition     = toset(keys(var.models)) == toset(["eu-west", "eu-central"])
    error_message = "The regions are eu-west and eu-central."
  }
}

variable "mesh_image_ids" {
  description = "Node image of each region."
  type        = map(string)
}

variable "model_image_ids" {
  description = "Model server image of each region."
  type        = map(string)
}

variable "client_cidrs" {
  description = "Where callers come from, by region."
  type        = map(list(string))
}

variable "allowed_egress" {
  description = "What the charter names beside backends, peers and Redis, by region."
  type = map(list(object({
    name      = string
    addresses = list(string)
    ports     = list(string)
  })))
  default = { eu-west = [], eu-central = [] }
}

variable "admin_ssh_public_key" {
  description = "Key of the administrators."
  type        = string
}

variable "disk_encryption_set_ids" {
  description = "Customer-managed key of each region's disks; null for platform keys."
  type        = map(string)
  default     = { eu-west = null, eu-central = null }
}

variable "operator" {
  description = "Who runs the machines, and whose law can compel them."
  type        = object({ name = string, country = string })
}

variable "owner" {
  description = "Ultimate parent of whoever can reach the hardware, and its country."
  type        = object({ name = string, country = string })
}

variable "access_from" {
  description = "Countries from which the machines are administered."
  type        = list(string)
}

variable "tags" {
  description = "Tags of every resource."
  type        = map(string)
  default     = { system = "portolan" }
}
