#!/usr/bin/env bash
# install.sh PACKAGES_FILE: installs the programs of such a table (beside this file there is one) that this machine lacks. It
# is no error not to be able to: what needs them says so. In CI the tests fail for it.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin:$(printf '%s:' /usr/lib/postgresql/*/bin)
packages=()
while read -r program package _; do
    [[ $program == "#" || -e $program ]] || command -v "$program" >/dev/null || packages+=("$package")
done <"$1"
if [[ ${#packages[@]} -gt 0 ]]; then
    mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort --unique)
    "$(dirname "$0")/../../.ci/apt-install" "${packages[@]}" || echo "Going on without: ${packages[*]}" >&2
fi
