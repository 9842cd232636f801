locals {
  address_spaces = {
    eu-west    = "10.20.0.0/16"
    eu-central = "10.21.0.0/16"
  }
  vnets = {
    eu-west    = module.eu_west.vnet_id
    eu-central = module.eu_central.vnet_id
  }
}

# Names of the private endpoints: one zone for both regions, since every node reaches the Redis
# of each. A zone has names and private addresses only.
resource "azurerm_resource_group" "names" {
  name     = "rg-${var.prefix}-names"
  location = "germanywestcentral"
  tags     = var.tags
}

resource "azurerm_private_dns_zone" "redis" {
  name                = "privatelink.redis.cache.windows.net"
  resource_group_name = azurerm_resource_group.names.name
  tags                = var.tags
}

resource "azurerm_private_dns_zone" "vault" {
  name                = "privatelink.vaultcore.azure.net"
  resource_group_name = azurerm_resource_group.names.name
  tags                = var.tags
}

resource "azurerm_private_dns_zone_virtual_network_link" "redis" {
  for_each = local.vnets

  name                  = each.key
  resource_group_name   = azurerm_resource_group.names.name
  private_dns_zone_name = azurerm_private_dns_zone.redis.name
  virtual_network_id    = each.value
  tags                  = var.tags
}

resource "azurerm_private_dns_zone_virtual_network_link" "vault" {
  for_each = local.vnets

  name                  = each.key
  resource_group_name   = azurerm_resource_group.names.name
  private_dns_zone_name = azurerm_private_dns_zone.vault.name
  virtual_network_id    = each.value
  tags                  = var.tags
}

module "eu_west" {
  source = "../../modules/region"

  prefix              = var.prefix
  region              = "eu-west"
  location            = "westeurope"
  address_space       = local.address_spaces["eu-west"]
  peer_address_spaces = [local.address_spaces["eu-central"]]
  client_cidrs        = var.client_cidrs["eu-west"]
  allowed_egress      = var.allowed_egress["eu-west"]
  mesh_nodes = {
    for name, zone in var.nodes["eu-west"] : name => {
      zone   = zone
      config = file("${var.node_config_folder}/${name}.jsonc")
    }
  }
  charter                = file(var.charter_file)
  mesh_image_id          = var.mesh_image_ids["eu-west"]
  models                 = var.models["eu-west"]
  model_image_id         = var.model_image_ids["eu-west"]
  admin_ssh_public_key   = var.admin_ssh_public_key
  disk_encryption_set_id = var.disk_encryption_set_ids["eu-west"]
  redis_dns_zone_id      = azurerm_private_dns_zone.redis.id
  vault_dns_zone_id      = azurerm_private_dns_zone.vault.id
  operator               = var.operator
  owner                  = var.owner
  access_from            = var.access_from
  tags                   = var.tags
}

module "eu_central" {
  source = "../../modules/region"

  prefix              = var.prefix
  region              = "eu-central"
  location            = "germanywestcentral"
  address_space       = local.address_spaces["eu-central"]
  peer_address_spaces = [local.address_spaces["eu-west"]]
  client_cidrs        = var.client_cidrs["eu-central"]
  allowed_egress      = var.allowed_egress["eu-central"]
  mesh_nodes = {
    for name, zone in var.nodes["eu-central"] : name => {
      zone   = zone
      config = file("${var.node_config_folder}/${name}.jsonc")
    }
  }
  charter                = file(var.charter_file)
  mesh_image_id          = var.mesh_image_ids["eu-central"]
  models                 = var.models["eu-central"]
  model_image_id         = var.model_image_ids["eu-central"]
  admin_ssh_public_key   = var.admin_ssh_public_key
  disk_encryption_set_id = var.disk_encryption_set_ids["eu-central"]
  redis_dns_zone_id      = azurerm_private_dns_zone.redis.id
  vault_dns_zone_id      = azurerm_private_dns_zone.vault.id
  operator               = var.operator
  owner                  = var.owner
  access_from            = var.access_from
  tags                   = var.tags
}

# The peering carries packets; the security groups of both sides let through the mesh port
# between nodes and the Redis TLS port from nodes to endpoints. Model servers are on neither list.
resource "azurerm_virtual_network_peering" "west_to_central" {
  name                         = "to-eu-central"
  resource_group_name          = module.eu_west.resource_group_name
  virtual_network_name         = module.eu_west.vnet_name
  remote_virtual_network_id    = module.eu_central.vnet_id
  allow_virtual_network_access = true
  allow_forwarded_traffic      = false
  allow_gateway_transit        = false
  use_remote_gateways          = false
}

resource "azurerm_virtual_network_peering" "central_to_west" {
  name                         = "to-eu-west"
  resource_group_name          = module.eu_central.resource_group_name
  virtual_network_name         = module.eu_central.vnet_name
  remote_virtual_network_id    = module.eu_west.vnet_id
  allow_virtual_network_access = true
  allow_forwarded_traffic      = false
  allow_gateway_transit        = false
  use_remote_gateways          = false
}
