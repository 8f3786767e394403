#!/bin/sh
# Becomes the init of a machine of its own: systemd on a copy-on-write view of this one's files, with units
# from one folder alone, and nothing but fairlead among them. Run by test/lib/systemd.ts within
# new namespaces (mount, pid, uts, ipc, cgroup); mounts are the node's slaves, so that network namespaces
# that come later are seen, as those of an engine are.
# usage: systemd.sh FOLDER PROJECT
set -eu
folder=$1
project=$2
root=$folder/root

mkdir -p "$folder/layers" "$root"
mount -t tmpfs tmpfs "$folder/layers"
mkdir "$folder/layers/upper" "$folder/layers/work"
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/layers/upper,workdir=$folder/layers/work" "$root"
bash "$project/deploy/install.sh" "$root" >/dev/null
# Where the test writes the file, the units and finds the log.
mkdir -p "$root/test"
mount --bind "$folder" "$root/test"
cp "$folder/fairlead.yaml" "$root/etc/fairlead/fairlead.yaml"
ln -s "/usr/local/lib/systemd/system/fairlead.service" "$root/test/units/fairlead.service"

mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount --bind /sys/fs/bpf "$root/sys/fs/bpf"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mkdir "$root/run/netns"
mount --rbind /run/netns "$root/run/netns"

cd "$root"
mkdir -p old
pivot_root . old
umount -l /old
mount --make-rshared /
exec env -i container=fairlead PATH=/usr/sbin:/usr/bin:/sbin:/bin SYSTEMD_UNIT_PATH=/test/units \
	/lib/systemd/systemd --system --unit=scene.target --log-target=console --show-status=no
