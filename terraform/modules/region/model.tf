locals {
  # Where each kind of server listens, behind nginx.
  model_ports = { vllm = 8000, ollama = 11434 }

  model_units = {
    for name, model in var.models :
    name => templatefile("${path.module}/cloud-init/${model.server}.service.tftpl", {
      served     = model.served
      model_path = model.model_path
      port       = local.model_ports[model.server]
    })
  }

  model_fronts = {
    for name, model in var.models :
    name => templatefile("${path.module}/cloud-init/nginx.conf.tftpl", {
      port = local.model_ports[model.server]
    })
  }
}

# No public address: a model server is reached through this region's nodes only.
resource "azurerm_network_interface" "model" {
  for_each = var.models

  name                = "nic-${local.name}-${each.key}"
  resource_group_name = azurerm_resource_group.this.name
  location            = var.location
  tags                = var.tags

  ip_configuration {
    name                          = "private"
    subnet_id                     = azurerm_subnet.model.id
    private_ip_address_allocation = "Dynamic"
  }
}

resource "azurerm_linux_virtual_machine" "model" {
  for_each = var.models

  name                = "vm-${local.name}-${each.key}"
  computer_name       = each.key
  resource_group_name = azurerm_resource_group.this.name
  location            = var.location
  zone                = each.value.zone
  size                = var.model_vm_size
  source_image_id     = var.model_image_id
  tags                = var.tags

  network_interface_ids = [azurerm_network_interface.model[each.key].id]

  admin_username                  = "portolan-admin"
  disable_password_authentication = true
  provision_vm_agent              = false
  allow_extension_operations      = false
  encryption_at_host_enabled      = true
  secure_boot_enabled             = var.secure_boot
  vtpm_enabled                    = true

  custom_data = base64encode(templatefile("${path.module}/cloud-init/model.yaml.tftpl", {
    unit     = base64encode(local.model_units[each.key])
    nginx    = base64encode(local.model_fronts[each.key])
    fetch    = base64encode(file("${path.module}/cloud-init/fetch-secret.sh"))
    vault    = azurerm_key_vault.this.vault_uri
    secret   = "model-${each.key}"
    identity = azurerm_user_assigned_identity.machine["model-${each.key}"].client_id
  }))

  admin_ssh_key {
    username   = "portolan-admin"
    public_key = var.admin_ssh_public_key
  }

  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.machine["model-${each.key}"].id]
  }

  os_disk {
    caching                = "ReadWrite"
    storage_account_type   = "Premium_LRS"
    disk_encryption_set_id = var.disk_encryption_set_id
  }

  depends_on = [
    azurerm_private_endpoint.vault,
    azurerm_role_assignment.own_secret,
    azurerm_subnet_network_security_group_association.model,
  ]
}
