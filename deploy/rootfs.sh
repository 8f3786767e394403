#!/usr/bin/env bash
# Makes the root file system of the container image in an empty folder: Debian 12, the packages of the
# group `run`, this machine's node, and what `npm run build` has made. No registry is asked. As root:
#   rootfs.sh FOLDER               packages from Debian's mirror, by debootstrap (MIRROR overrides which)
#   rootfs.sh --installed FOLDER   the same packages as they are installed on this Debian 12, no network
#   tar -C FOLDER -c . | docker import --change 'ENTRYPOINT ["fairlead"]' \
#     --change 'CMD ["agent", "--config", "/etc/fairlead/fairlead.yaml"]' - fairlead:latest
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'rootfs: %s\n' "$*"; }
die() {
	printf 'rootfs: %s\n' "$*" >&2
	exit 1
}

installed=
if [ "${1-}" = --installed ]; then
	installed=yes
	shift
fi
[ $# = 1 ] || die 'usage: rootfs.sh [--installed] FOLDER'
[ "$(id -u)" = 0 ] || die 'run as root: files in the image belong to root'
mkdir -p "$1"
root=$(cd "$1" && pwd)
[ -z "$(ls -A "$root")" ] || die "$1 is not empty"

packages=()
while read -r group package _; do
	[ "$group" = run ] && packages+=("$package")
done <deploy/packages.txt
# node's own need
packages+=(libstdc++6)

# Names of installed packages that these depend on, themselves included. What a package depends on may be
# provided by another one; then dpkg knows no such name, and it is found by asking who provides it.
closure() {
	dpkg-query -W -f '${db:Status-Abbrev}|${Package}|${Provides}|${Pre-Depends}, ${Depends}\n' |
		awk -F '|' -v wanted="$*" '
			function clean(text) { gsub(/\([^)]*\)|:[a-z0-9]+|\[[^]]*\]| /, "", text); return text }
			!/^ii/ { next }
			{
				needs[$2] = clean(substr($0, length($1 $2 $3) + 4))
				count = split(clean($3), names, ",")
				for (i = 1; i <= count; i++) provider[names[i]] = $2
			}
			function take(list,    alternatives, choices, i, j, n, m, name) {
				n = split(list, alternatives, ",")
				for (i = 1; i <= n; i++) {
					m = split(alternatives[i], choices, "|")
					for (j = 1; j <= m; j++) {
						name = choices[j]
						if (!(name in needs)) name = provider[name]
						if (name == "") continue
						if (!(name in taken)) { taken[name] = 1; print name; take(needs[name]) }
						break
					}
				}
			}
			END { gsub(" ", ",", wanted); take(wanted) }'
}

copy_installed() {
	local all
	# The shell and the few programs that scripts of health checks and `env node` expect.
	mapfile -t all < <(closure "${packages[@]}" base-files bash dash coreutils grep sed)
	for package in "${packages[@]}"; do
		printf '%s\n' "${all[@]}" | grep -xF "$package" >/dev/null || die "$package is not installed"
	done
	say "copying ${#all[@]} packages of this machine"
	# Packages name files by their places before /usr was merged.
	for name in bin sbin lib lib64; do
		mkdir -p "$root/usr/$name"
		ln -s "usr/$name" "$root/$name"
	done
	dpkg-query -L "${all[@]}" | sort -u | sed -n 's,^/,,p' |
		grep -vE '^((\.|boot|home|media|mnt|proc|run|srv|sys|dev|root)(/|$)|(bin|sbin|lib|lib64)$)' |
		# Of settings only what is not this machine's own.
		grep -E '^[^e]|^etc/(iproute2(/|$)|os-release$|debian_version$|host\.conf$)' |
		grep -vE '^usr/share/(doc|man|info|locale|lintian|bug|bash-completion)/' |
		while IFS= read -r path; do if [ -e "/$path" ] || [ -L "/$path" ]; then printf '%s\n' "$path"; fi; done |
		tar -cf - -C / --no-recursion -T - | tar -xf - -C "$root" --keep-directory-symlink
	# What maintainer scripts would have made.
	mkdir -p "$root"/{etc,dev,proc,sys,run,tmp,root,var/lib,var/tmp}
	chmod 1777 "$root/tmp" "$root/var/tmp"
	ln -sfn /run "$root/var/run"
	printf 'root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n' \
		>"$root/etc/passwd"
	printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
	ldconfig -r "$root"
}

download() {
	command -v debootstrap >/dev/null || die 'debootstrap is needed'
	local list
	list=$(IFS=,; echo "${packages[*]}")
	say 'downloading from Debian'
	if ! debootstrap --variant=minbase --include="$list" bookworm "$root" \
		${MIRROR:+"$MIRROR"} >"$root.log" 2>&1; then
		tail -n 20 "$root.log" >&2
		die 'debootstrap failed'
	fi
	# It copies these of this machine.
	rm -f "$root/etc/resolv.conf" "$root/etc/hostname"
	rm -rf "$root.log" "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
}

if [ -n "$installed" ]; then copy_installed; else download; fi

node=$(readlink -f "$(command -v node)")
install -D -m 755 "$node" "$root/usr/local/bin/node"
chroot "$root" /usr/local/bin/node --version >/dev/null || die "this machine's node does not run there"
bash deploy/install.sh --container "$root"
say "$(du -sm "$root" | cut -f 1) MB in $root"
