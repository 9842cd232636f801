# The region's weather. TLS only, reached through a private endpoint; what is in it is signed
# by the nodes and decides nothing about law.
resource "azurerm_redis_cache" "this" {
  name                          = "redis-${local.name}"
  resource_group_name           = azurerm_resource_group.this.name
  location                      = var.location
  family                        = "C"
  sku_name                      = "Standard"
  capacity                      = var.redis_capacity
  redis_version                 = "6"
  non_ssl_port_enabled          = false
  minimum_tls_version           = "1.2"
  public_network_access_enabled = false
  tags                          = var.tags

  # Records expire by themselves; a full cache must refuse a write, not drop a lease.
  redis_configuration {
    maxmemory_policy = "noeviction"
  }
}

resource "azurerm_private_endpoint" "redis" {
  name                = "pe-${local.name}-redis"
  resource_group_name = azurerm_resource_group.this.name
  location            = var.location
  subnet_id           = azurerm_subnet.endpoints.id
  tags                = var.tags

  private_service_connection {
    name                           = "redis"
    private_connection_resource_id = azurerm_redis_cache.this.id
    subresource_names              = ["redisCache"]
    is_manual_connection           = false
  }

  private_dns_zone_group {
    name                 = "redis"
    private_dns_zone_ids = [var.redis_dns_zone_id]
  }
}
