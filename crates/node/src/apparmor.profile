# What AppArmor lets a container do that asks for the runtime's default profile. Namespaces, capabilities, seccomp and cgroups
# decide about the rest; this is the line behind them for what they cannot see: the kernel's own files, and mounts.
profile corten-default flags=(attach_disconnected, mediate_deleted) {
  file,
  network,
  unix,
  capability,
  umount,
  deny mount,

  # Whoever ends the container is outside, and may be confined itself, as runc is on some nodes. Inside, all of a container,
  # and those of the same profile, may signal and trace each other, as far as they see each other.
  signal (receive) peer=unconfined,
  signal (receive) peer={runc,crun},
  signal (send, receive) peer=corten-default,
  ptrace (trace, tracedby, read, readby) peer=corten-default,

  # Of /proc only what is about processes is the container's, and the settings of its shared memory.
  deny /proc/* wklx,
  deny /proc/[^0-9st]*/** wklx,
  deny /proc/{scsi,sysvipc,tty}/** wklx,
  deny /proc/sys/[^k]** wklx,
  deny /proc/sys/kernel/{[^s],s[^h],sh[^m]}** wklx,
  deny /proc/sysrq-trigger rwklx,
  deny /proc/kcore rwklx,

  # /sys is the machine's, but for the container's cgroups.
  deny /sys/{block,bus,class,dev,devices,hypervisor,module,power}/** wklx,
  deny /sys/devices/virtual/powercap/** rwklx,
  deny /sys/firmware/** rwklx,
  deny /sys/kernel/** wklx,
  deny /sys/kernel/security/** rwklx,
  deny /sys/fs/{[^c],c[^g]}** wklx,
}
