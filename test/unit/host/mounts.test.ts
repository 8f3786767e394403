import t from 'tap'
import { cgroup2Mount, mountOf, readMounts } from '../../../src/host/mounts.js'

const TEXT = `22 1 254:0 / / rw - ext4 /dev/root rw
23 22 0:5 / /sys rw shared:1 - sysfs sysfs rw
24 23 0:9 / /sys/fs/cgroup/unified rw shared:4 - cgroup2 cgroup2 rw
25 23 0:10 / /sys/fs/bpf rw - bpf bpf rw,mode=700
26 22 0:11 / /mnt/a\\040b rw - tmpfs tmpfs rw
`

t.test('the deepest mount holds a path, by whole components', (t) => {
  const mounts = readMounts(TEXT)
  t.equal(mountOf('/sys/fs/bpf/fairlead', mounts)?.type, 'bpf')
  t.equal(mountOf('/sys/fs/bpf', mounts)?.type, 'bpf')
  t.equal(mountOf('/sys/fs/bpfx', mounts)?.type, 'sysfs')
  t.equal(mountOf('/mnt/a b/c', mounts)?.type, 'tmpfs')
  t.equal(mountOf('/home', mounts)?.type, 'ext4')
  t.equal(cgroup2Mount(mounts), '/sys/fs/cgroup/unified')
  t.equal(cgroup2Mount([]), undefined)
  t.end()
})

t.test('the mounts of this process are readable', (t) => {
  t.ok(readMounts().some(({ point }) => point === '/'))
  t.end()
})
