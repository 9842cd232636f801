locals {
  name = "${var.prefix}-${var.region}"

  mesh_cidr      = cidrsubnet(var.address_space, 2, 0)
  model_cidr     = cidrsubnet(var.address_space, 2, 1)
  endpoints_cidr = cidrsubnet(var.address_space, 2, 2)

  peer_mesh_cidrs      = [for space in var.peer_address_spaces : cidrsubnet(space, 2, 0)]
  peer_endpoints_cidrs = [for space in var.peer_address_spaces : cidrsubnet(space, 2, 2)]

  redis_port = 6380
}

resource "azurerm_resource_group" "this" {
  name     = "rg-${local.name}"
  location = var.location
  tags     = var.tags
}

resource "azurerm_virtual_network" "this" {
  name                = "vnet-${local.name}"
  resource_group_name = azurerm_resource_group.this.name
  location            = var.location
  address_space       = [var.address_space]
  tags                = var.tags
}

resource "azurerm_subnet" "mesh" {
  name                            = "mesh"
  resource_group_name             = azurerm_resource_group.this.name
  virtual_network_name            = azurerm_virtual_network.this.name
  address_prefixes                = [local.mesh_cidr]
  default_outbound_access_enabled = false
}

resource "azurerm_subnet" "model" {
  name                            = "model"
  resource_group_name             = azurerm_resource_group.this.name
  virtual_network_name            = azurerm_virtual_network.this.name
  address_prefixes                = [local.model_cidr]
  default_outbound_access_enabled = false
}

# Without network policies a security group is ignored for private endpoints.
resource "azurerm_subnet" "endpoints" {
  name                              = "endpoints"
  resource_group_name               = azurerm_resource_group.this.name
  virtual_network_name              = azurerm_virtual_network.this.name
  address_prefixes                  = [local.endpoints_cidr]
  default_outbound_access_enabled   = false
  private_endpoint_network_policies = "Enabled"
}

resource "azurerm_network_security_group" "mesh" {
  name                = "nsg-${local.name}-mesh"
  resource_group_name = azurerm_resource_group.this.name
  location            = var.location
  tags                = var.tags

  security_rule {
    name                       = "callers"
    priority                   = 100
    direction                  = "Inbound"
    access                     = "Allow"
    protocol                   = "Tcp"
    source_address_prefixes    = var.client_cidrs
    source_port_range          = "*"
    destination_address_prefix = local.mesh_cidr
    destination_port_range     = tostring(var.public_port)
  }

  security_rule {
    name                       = "balancer-probe"
    priority                   = 110
    direction                  = "Inbound"
    access                     = "Allow"
    protocol                   = "Tcp"
    source_address_prefix      = "AzureLoadBalancer"
    source_port_range          = "*"
    destination_address_prefix = local.mesh_cidr
    destination_port_range     = tostring(var.public_port)
  }

  security_rule {
    name                       = "peers-in"
    priority                   = 120
    direction                  = "Inbound"
    access                     = "Allow"
    protocol                   = "Tcp"
    source_address_prefixes    = concat([local.mesh_cidr], local.peer_mesh_cidrs)
    source_port_range          = "*"
    destination_address_prefix = local.mesh_cidr
    destination_port_range     = tostring(var.mesh_port)
  }

  security_rule {
    name                       = "deny-all-in"
    priority                   = 4096
    direction                  = "Inbound"
    access                     = "Deny"
    protocol                   = "*"
    source_address_prefix      = "*"
    source_port_range          = "*"
    destination_address_prefix = "*"
    destination_port_range     = "*"
  }

  security_rule {
    name                       = "models"
    priority                   = 200
    direction                  = "Outbound"
    access                     = "Allow"
    protocol                   = "Tcp"
    source_address_prefix      = local.mesh_cidr
    source_port_range          = "*"
    destination_address_prefix = local.model_cidr
    destination_port_range     = "443"
  }

  security_rule {
    name                         = "peers-out"
    priority                     = 210
    direction                    = "Outbound"
    access                       = "Allow"
    protocol                     = "Tcp"
    source_address_prefix        = local.mesh_cidr
    source_port_range            = "*"
    destination_address_prefixes = concat([local.mesh_cidr], local.peer_mesh_cidrs)
    destination_port_range       = tostring(var.mesh_port)
  }

  # Every node writes its health record to the Redis of every region.
  security_rule {
    name                         = "redis"
    priority                     = 220
    direction                    = "Outbound"
    access                       = "Allow"
    protocol                     = "Tcp"
    source_address_prefix        = local.mesh_cidr
    source_port_range            = "*"
    destination_address_prefixes = concat([local.endpoints_cidr], local.peer_endpoints_cidrs)
    destination_port_range       = tostring(local.redis_port)
  }

  security_rule {
    name                       = "vault"
    priority                   = 230
    direction                  = "Outbound"
    access                     = "Allow"
    protocol                   = "Tcp"
    source_address_prefix      = local.mesh_cidr
    source_port_range          = "*"
    destination_address_prefix = local.endpoints_cidr
    destination_port_range     = "443"
  }

  dynamic "security_rule" {
    for_each = var.allowed_egress

    content {
      name                         = "charter-${security_rule.value.name}"
      priority                     = 1000 + security_rule.key
      direction                    = "Outbound"
      access                       = "Allow"
      protocol                     = "Tcp"
      source_address_prefix        = local.mesh_cidr
      source_port_range            = "*"
      destination_address_prefixes = security_rule.value.addresses
      destination_port_ranges      = security_rule.value.ports
    }
  }

  security_rule {
    name                       = "deny-all-out"
    priority                   = 4096
    direction                  = "Outbound"
    access                     = "Deny"
    protocol                   = "*"
    source_address_prefix      = "*"
    source_port_range          = "*"
    destination_address_prefix = "*"
    destination_port_range     = "*"
  }
}

# A model server is spoken to by this region's nodes, and itself speaks to the key vault only.
resource "azurerm_network_security_group" "model" {
  name                = "nsg-${local.name}-model"
  resource_group_name = azurerm_resource_group.this.name
  location            = var.location
  tags                = var.tags

  security_rule {
    name                       = "nodes"
    priority                   = 100
    direction                  = "Inbound"
    access                     = "Allow"
    protocol                   = "Tcp"
    source_address_prefix      = local.mesh_cidr
    source_port_range          = "*"
    destination_address_prefix = local.model_cidr
    destination_port_range     = "443"
  }

  security_rule {
    name                       = "deny-all-in"
    priority                   = 4096
    direction                  = "Inbound"
    access                     = "Deny"
    protocol                   = "*"
    source_address_prefix      = "*"
    source_port_range          = "*"
    destination_address_prefix = "*"
    destination_port_range     = "*"
  }

  security_rule {
    name                       = "vault"
    priority                   = 200
    direction                  = "Outbound"
    access                     = "Allow"
    protocol                   = "Tcp"
    source_address_prefix      = local.model_cidr
    source_port_range          = "*"
    destination_address_prefix = local.endpoints_cidr
    destination_port_range     = "443"
  }

  security_rule {
    name                       = "deny-all-out"
    priority                   = 4096
    direction                  = "Outbound"
    access                     = "Deny"
    protocol                   = "*"
    source_address_prefix      = "*"
    source_port_range          = "*"
    destination_address_prefix = "*"
    destination_port_range     = "*"
  }
}

resource "azurerm_network_security_group" "endpoints" {
  name                = "nsg-${local.name}-endpoints"
  resource_group_name = azurerm_resource_group.this.name
  location            = var.location
  tags                = var.tags

  security_rule {
    name                       = "redis"
    priority                   = 100
    direction                  = "Inbound"
    access                     = "Allow"
    protocol                   = "Tcp"
    source_address_prefixes    = concat([local.mesh_cidr], local.peer_mesh_cidrs)
    source_port_range          = "*"
    destination_address_prefix = local.endpoints_cidr
    destination_port_range     = tostring(local.redis_port)
  }

  security_rule {
    name                       = "vault"
    priority                   = 110
    direction                  = "Inbound"
    access                     = "Allow"
    protocol                   = "Tcp"
    source_address_prefixes    = [local.mesh_cidr, local.model_cidr]
    source_port_range          = "*"
    destination_address_prefix = local.endpoints_cidr
    destination_port_range     = "443"
  }

  security_rule {
    name                       = "deny-all-in"
    priority                   = 4096
    direction                  = "Inbound"
    access                     = "Deny"
    protocol                   = "*"
    source_address_prefix      = "*"
    source_port_range          = "*"
    destination_address_prefix = "*"
    destination_port_range     = "*"
  }

  security_rule {
    name                       = "deny-all-out"
    priority                   = 4096
    direction                  = "Outbound"
    access                     = "Deny"
    protocol                   = "*"
    source_address_prefix      = "*"
    source_port_range          = "*"
    destination_address_prefix = "*"
    destination_port_range     = "*"
  }
}

resource "azurerm_subnet_network_security_group_association" "mesh" {
  subnet_id                 = azurerm_subnet.mesh.id
  network_security_group_id = azurerm_network_security_group.mesh.id
}

resource "azurerm_subnet_network_security_group_association" "model" {
  subnet_id                 = azurerm_subnet.model.id
  network_security_group_id = azurerm_network_security_group.model.id
}

resource "azurerm_subnet_network_security_group_association" "endpoints" {
  subnet_id                 = azurerm_subnet.endpoints.id
  network_security_group_id = azurerm_network_security_group.endpoints.id
}
