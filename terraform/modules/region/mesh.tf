# Machines, not a scale set: each node has its own name, keys and ledger in the charter.
resource "azurerm_network_interface" "mesh" {
  for_each = var.mesh_nodes

  name                = "nic-${local.name}-${each.key}"
  resource_group_name = azurerm_resource_group.this.name
  location            = var.location
  tags                = var.tags

  ip_configuration {
    name                          = "private"
    subnet_id                     = azurerm_subnet.mesh.id
    private_ip_address_allocation = "Dynamic"
  }
}

resource "azurerm_linux_virtual_machine" "mesh" {
  for_each = var.mesh_nodes

  name                = "vm-${local.name}-${each.key}"
  computer_name       = each.key
  resource_group_name = azurerm_resource_group.this.name
  location            = var.location
  zone                = each.value.zone
  size                = var.mesh_vm_size
  source_image_id     = var.mesh_image_id
  tags                = var.tags

  network_interface_ids = [azurerm_network_interface.mesh[each.key].id]

  admin_username                  = "portolan-admin"
  disable_password_authentication = true
  # No agent and no extensions: the platform's "run command" is remote administration too.
  provision_vm_agent         = false
  allow_extension_operations = false
  encryption_at_host_enabled = true
  secure_boot_enabled        = var.secure_boot
  vtpm_enabled               = true

  custom_data = base64encode(templatefile("${path.module}/cloud-init/mesh.yaml.tftpl", {
    unit     = base64encode(file("${path.module}/../../../configs/portolan.service"))
    config   = base64encode(each.value.config)
    charter  = base64encode(var.charter)
    fetch    = base64encode(file("${path.module}/cloud-init/fetch-secret.sh"))
    vault    = azurerm_key_vault.this.vault_uri
    secret   = "node-${each.key}"
    identity = azurerm_user_assigned_identity.machine["node-${each.key}"].client_id
  }))

  admin_ssh_key {
    username   = "portolan-admin"
    public_key = var.admin_ssh_public_key
  }

  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.machine["node-${each.key}"].id]
  }

  os_disk {
    caching                = "ReadWrite"
    storage_account_type   = "Premium_LRS"
    disk_encryption_set_id = var.disk_encryption_set_id
  }

  # Custom data is for the first boot. A new charter or configuration is brought by the
  # operator's own means and "portolan reload"; it must not replace the machine.
  lifecycle {
    ignore_changes = [custom_data]
  }

  depends_on = [
    azurerm_private_endpoint.vault,
    azurerm_role_assignment.own_secret,
    azurerm_subnet_network_security_group_association.mesh,
  ]
}

# The ledger outlives its machine.
resource "azurerm_managed_disk" "ledger" {
  for_each = var.mesh_nodes

  name                          = "disk-${local.name}-${each.key}-ledger"
  resource_group_name           = azurerm_resource_group.this.name
  location                      = var.location
  zone                          = each.value.zone
  storage_account_type          = "Premium_LRS"
  create_option                 = "Empty"
  disk_size_gb                  = var.ledger_disk_gb
  disk_encryption_set_id        = var.disk_encryption_set_id
  public_network_access_enabled = false
  network_access_policy         = "DenyAll"
  tags                          = var.tags

  lifecycle {
    prevent_destroy = true
  }
}

# No host cache: a synced write must be on the disk.
resource "azurerm_virtual_machine_data_disk_attachment" "ledger" {
  for_each = var.mesh_nodes

  managed_disk_id    = azurerm_managed_disk.ledger[each.key].id
  virtual_machine_id = azurerm_linux_virtual_machine.mesh[each.key].id
  lun                = 0
  caching            = "None"
}

# Callers inside the private network see one address; their own addresses stay visible.
resource "azurerm_lb" "mesh" {
  name                = "lb-${local.name}"
  resource_group_name = azurerm_resource_group.this.name
  location            = var.location
  sku                 = "Standard"
  tags                = var.tags

  frontend_ip_configuration {
    name                          = "callers"
    subnet_id                     = azurerm_subnet.mesh.id
    private_ip_address_allocation = "Dynamic"
    zones                         = ["1", "2", "3"]
  }
}

resource "azurerm_lb_backend_address_pool" "mesh" {
  name            = "nodes"
  loadbalancer_id = azurerm_lb.mesh.id
}

resource "azurerm_network_interface_backend_address_pool_association" "mesh" {
  for_each = var.mesh_nodes

  network_interface_id    = azurerm_network_interface.mesh[each.key].id
  ip_configuration_name   = "private"
  backend_address_pool_id = azurerm_lb_backend_address_pool.mesh.id
}

# A draining node closes its listener, which is all that this has to see.
resource "azurerm_lb_probe" "mesh" {
  name                = "listener"
  loadbalancer_id     = azurerm_lb.mesh.id
  protocol            = "Tcp"
  port                = var.public_port
  interval_in_seconds = 5
  number_of_probes    = 2
}

resource "azurerm_lb_rule" "mesh" {
  name                           = "callers"
  loadbalancer_id                = azurerm_lb.mesh.id
  protocol                       = "Tcp"
  frontend_ip_configuration_name = "callers"
  frontend_port                  = 443
  backend_port                   = var.public_port
  backend_address_pool_ids       = [azurerm_lb_backend_address_pool.mesh.id]
  probe_id                       = azurerm_lb_probe.mesh.id
  idle_timeout_in_minutes        = 30
  tcp_reset_enabled              = true
}
