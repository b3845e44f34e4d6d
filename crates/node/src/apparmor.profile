# What AppArmor lets a container do that asks for the runtime's default profile. Namespaces, capabilities, seccomp and cgroups
# decide about the rest; this is the line behind them for what they cannot see: the kernel's own files, and mounts.
profile corten-default flags=(attach_disconnected, mediate_deleted) {
  file,
  network,
  capability,
  umount,
  deny mount,

  # Whoever ends the container is outside. Inside all of a container, and those of the same profile, may signal and trace
  # each other, as far as they see each other.
  signal (receive) peer=unconfined,
  signal (send, receive) peer=corten-default,
  ptrace (trace, tracedby, read, readby) peer=corten-default,

  # Files of /proc that are the whole machine's. Of /proc/sys the network's settings and shared memory's are the pod's own.
  deny /proc/sysrq-trigger rwklx,
  deny /proc/{mem,kmem,kcore} rwklx,
  deny /proc/{bus,driver,fs,irq,scsi,tty}/** wklx,
  deny /proc/sys/[^kn]** wklx,
  deny /proc/sys/kernel/{[^s],s[^h],sh[^m]}** wklx,

  # /sys is the machine's, but for the container's cgroups.
  deny /sys/{block,bus,class,dev,devices,hypervisor,module,power}/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/kernel/** wklx,
  deny /sys/kernel/security/** rwklx,
  deny /sys/fs/{[^c],c[^g]}** wklx,
}
