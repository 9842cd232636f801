variable "prefix" {
  description = "Start of every resource's name; key vault and Redis names are worldwide unique."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{1,7}$", var.prefix))
    error_message = "2 to 8 lower-case letters and digits, a letter first."
  }
}

variable "region" {
  description = "Name of the region in the charter, e.g. eu-central."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,10}[a-z0-9]$", var.region))
    error_message = "2 to 12 lower-case letters, digits and dashes, a letter first."
  }
}

# Only places in the EU or the EEA: a typing error here would be a transfer. The United Kingdom
# and Switzerland are adequate but not EEA, so they are left out on purpose.
variable "location" {
  description = "Azure location of everything in this region."
  type        = string

  validation {
    condition = contains([
      "austriaeast", "belgiumcentral", "francecentral", "francesouth", "germanynorth",
      "germanywestcentral", "italynorth", "northeurope", "norwayeast", "norwaywest",
      "polandcentral", "spaincentral", "swedencentral", "swedensouth", "westeurope",
    ], var.location)
    error_message = "Not an Azure location in the EU or the EEA."
  }
}

variable "address_space" {
  description = "IPv4 range of the virtual network: a quarter each for nodes, models and endpoints."
  type        = string

  validation {
    condition     = can(cidrsubnet(var.address_space, 2, 3))
    error_message = "Must be a CIDR range that can be split into four."
  }
}

variable "peer_address_spaces" {
  description = "Ranges of the other regions of the mesh, split as this one is."
  type        = list(string)
  default     = []
}

variable "client_cidrs" {
  description = "Where callers come from (offices, VPN, other networks). No default: say it."
  type        = list(string)

  validation {
    condition = alltrue([
      for cidr in var.client_cidrs : try(tonumber(split("/", cidr)[1]) >= 8, false)
    ])
    error_message = "CIDR ranges of /8 or smaller: the listener is not for everyone."
  }
}

# The network's copy of the charter's egress. Backends, peers and Redis of the mesh are opened
# by this module itself; here stands what else the charter names, e.g. a key set's URL or a log
# collector, by address.
variable "allowed_egress" {
  description = "What a mesh node may connect to beside backends, peers and Redis."
  type = list(object({
    name      = string
    addresses = list(string)
    ports     = list(string)
  }))
  default = []

  validation {
    condition = alltrue(flatten([
      for rule in var.allowed_egress : [
        for address in rule.addresses : try(tonumber(split("/", address)[1]) >= 16, false)
      ]
    ]))
    error_message = "Addresses are CIDR ranges of /16 or smaller: no service tags, no Internet."
  }

  validation {
    condition     = length(distinct(var.allowed_egress[*].name)) == length(var.allowed_egress)
    error_message = "Two rules have the same name."
  }
}

variable "public_port" {
  description = "Port of the nodes' listener for callers."
  type        = number
  default     = 8443
}

variable "mesh_port" {
  description = "Port of the nodes' mTLS listener for peers."
  type        = number
  default     = 8444
}

variable "mesh_nodes" {
  description = "Nodes by name in the charter: availability zone and node.jsonc as text."
  type = map(object({
    zone   = string
    config = string
  }))

  validation {
    condition = length(var.mesh_nodes) > 0 && alltrue([
      for name, node in var.mesh_nodes :
      can(regex("^[a-z][a-z0-9-]{1,30}$", name)) && contains(["1", "2", "3"], node.zone)
    ])
    error_message = "At least one node; names of lower-case letters, digits, dashes; zone 1 to 3."
  }
}

variable "charter" {
  description = "The signed charter (a DSSE envelope), as text. It is no secret."
  type        = string
}

variable "mesh_image_id" {
  description = "Image with the portolan package; see terraform/README.md."
  type        = string
}

variable "mesh_vm_size" {
  description = "Size of a node."
  type        = string
  default     = "Standard_D4as_v5"
}

variable "ledger_disk_gb" {
  description = "Size of a node's ledger disk."
  type        = number
  default     = 128
}

variable "models" {
  description = "Model servers by backend name. served: the name (or Ollama tag) in the charter."
  type = map(object({
    zone       = string
    server     = string
    served     = string
    model_path = string
  }))

  validation {
    condition = alltrue([
      for name, model in var.models :
      contains(["vllm", "ollama"], model.server) &&
      can(regex("^[a-z][a-z0-9-]{1,30}$", name)) &&
      can(regex("^[A-Za-z0-9._:/-]+$", model.served)) &&
      can(regex("^/[A-Za-z0-9._/-]+$", model.model_path))
    ])
    error_message = "server is vllm or ollama; names and paths have no blanks or quotes."
  }
}

variable "model_image_id" {
  description = "Image with GPU driver, model server, weights and nginx; see terraform/README.md."
  type        = string
}

variable "model_vm_size" {
  description = "GPU size of a model server."
  type        = string
  default     = "Standard_NC24ads_A100_v4"
}

variable "admin_ssh_public_key" {
  description = "Key of the administrators. Azure demands one; no rule lets SSH in."
  type        = string
}

variable "secure_boot" {
  description = "Secure boot of all machines; the GPU driver in the image must be signed for it."
  type        = bool
  default     = true
}

variable "disk_encryption_set_id" {
  description = "Customer-managed key for all disks; null for platform keys."
  type        = string
  default     = null
}

variable "redis_dns_zone_id" {
  description = "Private DNS zone privatelink.redis.cache.windows.net, linked to all regions."
  type        = string
}

variable "vault_dns_zone_id" {
  description = "Private DNS zone privatelink.vaultcore.azure.net, linked to all regions."
  type        = string
}

variable "redis_capacity" {
  description = "Capacity of the Redis cache in its family."
  type        = number
  default     = 1
}

# Facts for the charter that no cloud API knows. They have no default: a guess here would be a
# guess in every attestation.
variable "operator" {
  description = "Who runs these machines, and whose law can compel them."
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
  default     = {}
}
