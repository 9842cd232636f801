locals {
  # The country of each location, for the charter.
  countries = {
    austriaeast        = "AT"
    belgiumcentral     = "BE"
    francecentral      = "FR"
    francesouth        = "FR"
    germanynorth       = "DE"
    germanywestcentral = "DE"
    italynorth         = "IT"
    northeurope        = "IE"
    norwayeast         = "NO"
    norwaywest         = "NO"
    polandcentral      = "PL"
    spaincentral       = "ES"
    swedencentral      = "SE"
    swedensouth        = "SE"
    westeurope         = "NL"
  }
}

output "vnet_id" {
  description = "The virtual network."
  value       = azurerm_virtual_network.this.id
}

output "vnet_name" {
  description = "The virtual network's name."
  value       = azurerm_virtual_network.this.name
}

output "resource_group_name" {
  description = "The region's resource group."
  value       = azurerm_resource_group.this.name
}

output "callers_address" {
  description = "Private address for callers, port 443."
  value       = azurerm_lb.mesh.frontend_ip_configuration[0].private_ip_address
}

# What the charter's author needs about this region. Not the charter: keys, models, policy and
# signatures are added by hand, and someone answers for them.
output "charter_facts" {
  description = "Facts about this region for the charter."
  value = {
    region          = var.region
    country         = local.countries[var.location]
    storage_country = local.countries[var.location]
    operator        = var.operator
    owner           = var.owner
    access_from     = var.access_from
    nodes = {
      for name, node in var.mesh_nodes :
      name => "${azurerm_network_interface.mesh[name].private_ip_address}:${var.mesh_port}"
    }
    backends = {
      for name, model in var.models : name => {
        address = "https://${azurerm_network_interface.model[name].private_ip_address}"
        kind    = model.server
        served  = model.served
      }
    }
  }
}

output "redis" {
  description = "The region's Redis, for node.jsonc. Its key is read with the Azure tools."
  value = {
    host = azurerm_redis_cache.this.hostname
    port = azurerm_redis_cache.this.ssl_port
  }
}

output "vault_uri" {
  description = "Where the machines' secrets are put."
  value       = azurerm_key_vault.this.vault_uri
}
