# Keys and certificates of nodes and model servers. Terraform makes the vault and says who may
# read which secret; it never sees a value, so none is in its state.
data "azurerm_client_config" "current" {}

locals {
  vault_readers = merge(
    { for name, node in var.mesh_nodes : "node-${name}" => name },
    { for name, model in var.models : "model-${name}" => name },
  )
}

resource "azurerm_key_vault" "this" {
  name                          = "kv-${local.name}"
  resource_group_name           = azurerm_resource_group.this.name
  location                      = var.location
  tenant_id                     = data.azurerm_client_config.current.tenant_id
  sku_name                      = "premium"
  rbac_authorization_enabled    = true
  public_network_access_enabled = false
  purge_protection_enabled      = true
  soft_delete_retention_days    = 90
  tags                          = var.tags

  network_acls {
    default_action = "Deny"
    bypass         = "None"
  }
}

resource "azurerm_private_endpoint" "vault" {
  name                = "pe-${local.name}-vault"
  resource_group_name = azurerm_resource_group.this.name
  location            = var.location
  subnet_id           = azurerm_subnet.endpoints.id
  tags                = var.tags

  private_service_connection {
    name                           = "vault"
    private_connection_resource_id = azurerm_key_vault.this.id
    subresource_names              = ["vault"]
    is_manual_connection           = false
  }

  private_dns_zone_group {
    name                 = "vault"
    private_dns_zone_ids = [var.vault_dns_zone_id]
  }
}

resource "azurerm_user_assigned_identity" "machine" {
  for_each = local.vault_readers

  name                = "id-${local.name}-${each.key}"
  resource_group_name = azurerm_resource_group.this.name
  location            = var.location
  tags                = var.tags
}

# One secret a machine, and that machine alone may read it.
resource "azurerm_role_assignment" "own_secret" {
  for_each = local.vault_readers

  scope                = "${azurerm_key_vault.this.id}/secrets/${each.key}"
  role_definition_name = "Key Vault Secrets User"
  principal_id         = azurerm_user_assigned_identity.machine[each.key].principal_id
  principal_type       = "ServicePrincipal"
}
