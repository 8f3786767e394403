#!/usr/bin/env bash
# Installs what a fresh Debian 12 with Node 20 lacks: system packages from packages.txt, then the
# project's npm packages. Says what it installs; safe to repeat; starts no daemon.
# usage: setup.sh [group...]   groups of packages.txt; default: all of them
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*"; }
die() {
	printf 'setup: %s\n' "$*" >&2
	exit 1
}

major=$(node -p 'process.versions.node.split(".")[0]' 2>/dev/null || echo 0)
[ "$major" -ge 20 ] || die "Node 20 or later is needed, found ${major/#0/none}"

groups=("$@")
[ ${#groups[@]} -gt 0 ] || groups=(build run demo engine test bench)

missing=()
for group in "${groups[@]}"; do
	while read -r in_group package _; do
		[ "$in_group" = "$group" ] || continue
		dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
			missing+=("$package")
	done <deploy/packages.txt
done

if [ ${#missing[@]} -gt 0 ]; then
	[ "$(id -u)" = 0 ] || die "these packages are missing, run as root to install them: ${missing[*]}"
	say "installing system packages: ${missing[*]}"
	# A package must not start its daemon on this host: policy-rc.d says no while we install.
	policy=/usr/sbin/policy-rc.d
	if [ ! -e $policy ]; then
		printf '#!/bin/sh\nexit 101\n' >$policy
		chmod 755 $policy
		trap 'rm -f /usr/sbin/policy-rc.d' EXIT
	fi
	log=$(mktemp)
	if ! { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
		tail -n 20 "$log" >&2
		rm -f "$log"
		die 'apt-get failed'
	fi
	rm -f "$log"
fi

# npm ci replaces node_modules whole; do that only when the lock file says something new.
stamp=node_modules/.fairlead-lock
if ! cmp -s package-lock.json $stamp; then
	say 'installing npm packages'
	npm ci --no-audit --no-fund --loglevel=error
	cp package-lock.json $stamp
fi
