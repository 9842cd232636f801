terraform {
  required_version = ">= 1.9.0"

  # State names every address and holds Redis keys: keep it in an EU storage account, given at
  # init with -backend-config.
  backend "azurerm" {}

  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = ">= 4.55.0, < 5.0.0"
    }
  }
}

provider "azurerm" {
  subscription_id = var.subscription_id

  features {
    key_vault {
      purge_soft_delete_on_destroy = false
    }
  }
}
