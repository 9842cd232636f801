output "charter_facts" {
  description = "What the charter's author needs about both regions."
  value       = [module.eu_west.charter_facts, module.eu_central.charter_facts]
}

output "callers_addresses" {
  description = "Private address for callers in each region."
  value = {
    eu-west    = module.eu_west.callers_address
    eu-central = module.eu_central.callers_address
  }
}

output "redis" {
  description = "Redis of each region, for node.jsonc."
  value = {
    eu-west    = module.eu_west.redis
    eu-central = module.eu_central.redis
  }
}

output "vault_uris" {
  description = "Vault of each region."
  value = {
    eu-west    = module.eu_west.vault_uri
    eu-central = module.eu_central.vault_uri
  }
}
