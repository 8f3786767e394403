#!/usr/bin/env bash
# Installs what `npm run build` has made: the program and its npm packages below /usr/local, a file in
# /etc/fairlead if there is none, and the systemd unit. Starts nothing; safe to repeat.
# usage: install.sh [--container] [ROOT]   ROOT: another tree than /
#   --container   for an image: its own file, and no unit
set -euo pipefail
cd "$(dirname "$0")/.."

container=
if [ "${1-}" = --container ]; then
	container=yes
	shift
fi
root=${1-}
root=${root%/}
home=$root/usr/local/lib/fairlead
lib=$home.new

if [ ! -e dist/src/cli/fairlead.js ] || [ ! -e native/build/Release/bpf.node ]; then
	echo 'install: build first: npm run setup && npm run build' >&2
	exit 1
fi

rm -rf "$lib"
mkdir -p "$lib/node_modules" "$root/usr/local/bin" "$root/etc/fairlead"

# What the lock file has for more than development; without headers that only a build needs.
node -p '
	const { packages } = JSON.parse(fs.readFileSync("package-lock.json", "utf8"))
	Object.keys(packages).filter((path) => path.startsWith("node_modules/") &&
		!packages[path].dev && !packages[path].link).join("\n")' |
	grep -vxF node_modules/node-addon-api |
	tar -cf - --exclude='*.map' --exclude='*.d.ts' --exclude='*.md' -T - | tar -xf - -C "$lib"
mkdir -p "$lib/node_modules/libbpf-ts/build/Release"
tar -cf - -C native --exclude='*.map' --exclude='*.d.ts' --exclude='*.tsbuildinfo' --exclude='dist/test' \
	package.json LICENSE dist build/Release/bpf.node | tar -xf - -C "$lib/node_modules/libbpf-ts"
tar -cf - --exclude='*.map' package.json LICENSE README.md CHANGELOG.md docs dist/bpf dist/src |
	tar -xf - -C "$lib"
chown -R 0:0 "$lib"
chmod 755 "$lib/dist/src/cli/fairlead.js"
rm -rf "$home"
mv "$lib" "$home"
ln -sfn ../lib/fairlead/dist/src/cli/fairlead.js "$root/usr/local/bin/fairlead"

file=fairlead.yaml
[ -z "$container" ] || file=container.yaml
[ -e "$root/etc/fairlead/fairlead.yaml" ] ||
	install -m 644 "deploy/$file" "$root/etc/fairlead/fairlead.yaml"
if [ -z "$container" ]; then
	install -D -m 644 deploy/fairlead.service \
		"$root/usr/local/lib/systemd/system/fairlead.service"
	echo 'install: systemctl daemon-reload && systemctl enable --now fairlead'
fi
