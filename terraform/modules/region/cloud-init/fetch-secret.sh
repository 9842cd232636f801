#!/bin/sh
# Puts this machine's secret (a base64 tar.gz of its keys and certificates) into a folder:
#   fetch-secret VAULT_URI SECRET CLIENT_ID FOLDER GROUP
# The token comes from the instance's own metadata service and the vault's private endpoint is
# the only thing that is connected to. Run at every boot, so that a renewed key arrives.
set -eu
vault=$1 secret=$2 identity=$3 folder=$4 group=$5

metadata='http://169.254.169.254/metadata/identity/oauth2/token'
query="api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net&client_id=$identity"
work=$(mktemp -d /run/fetch-secret.XXXXXX)
trap 'rm -rf "$work"' EXIT
umask 077

token=$(curl -fsS --noproxy '*' --retry 10 --retry-connrefused -H 'Metadata: true' \
  "$metadata?$query" | jq -er .access_token)
# The header goes in by a file: arguments can be read by every process.
printf 'Authorization: Bearer %s\n' "$token" > "$work/header"
curl -fsS --noproxy '*' --proto '=https' --retry 10 --retry-all-errors -H @"$work/header" \
  "${vault}secrets/$secret?api-version=7.4" | jq -er .value | base64 -d > "$work/keys.tar.gz"
install -d -m 0750 -o root -g "$group" "$folder"
tar -xzf "$work/keys.tar.gz" -C "$folder" --no-same-owner --no-same-permissions
chown -R root:"$group" "$folder"
chmod -R u=rwX,g=rX,o= "$folder"
