#!/bin/sh
# The first process of the guest: makes a small Linux of what the kernel gives, and runs the suites.
export PATH=/bin:/sbin HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/shm /dev/pts /tmp /run /root
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t devpts devpts /dev/pts
ip link set lo up
for module in virtio_pci virtio_console virtio-rng vfio_iommu_type1 vfio-pci; do modprobe $module; done
for port in /sys/class/virtio-ports/*; do
  ln -s "/dev/${port##*/}" "/dev/warpdrive-$(cat "$port/name")"
done
echo '{"kind":"start"}' > /dev/warpdrive-report
cd /warpdrive || exit 1
. ./guest-settings.sh
if [ -n "$WARPDRIVE_GUEST_SHELL" ]; then
  echo 'The project lies in /warpdrive; "node --test dist/test/guest/NAME.guest.js" runs a suite, "exit" leaves.'
  setsid cttyhack sh
else
  # shellcheck disable=SC2086
  node dist/test/guest/harness/inside.js $WARPDRIVE_GUEST_FILES
fi
poweroff -f
