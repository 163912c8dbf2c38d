#!/usr/bin/env bash
# Installs the servers and clients of packages.txt that this machine lacks. Not being able to is no error: the tests that need
# them are skipped then, with the reason, and fail in CI.
set -euo pipefail
cd "$(dirname "$0")"
PATH=$PATH:/usr/sbin:/sbin:$(printf '%s:' /usr/lib/postgresql/*/bin)
packages=()
while read -r program package _; do
    [[ $program == "#" ]] || command -v "$program" >/dev/null || packages+=("$package")
done <packages.txt
if [[ ${#packages[@]} -gt 0 ]]; then
    ../../.ci/apt-install "${packages[@]}" || echo "Going on without: ${packages[*]}" >&2
fi
