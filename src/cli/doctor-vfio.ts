import { accessSync, constants, existsSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import {
  allowsNoIommu,
  memberList,
  obstacle,
  type PciFunction,
  pciFunction,
  pciFunctions,
} from '../transport/vfio/pci-functions.js';
import { listFolder, readAttribute } from '../transport/vfio/sysfs.js';
import { isVfioDriver } from '../transport/vfio/sysfs-device.js';
import { advice, blocking, type Diagnosis, type Finding } from './diagnosis.js';
import { openers } from './in-use.js';

/*
 * What keeps the kernel's VFIO from working. `root` is where the machine's files are: `/`, or a tree that a test made.
 */

const CONTAINER_NODE = '/dev/vfio/vfio';

/** What a process locks: 32 MiB of buffers by default, queues, and as much again for what the program itself wants. */
const LOCKED_BYTES = 64 * 1024 * 1024;
/** <linux/capability.h>: who has it may lock as much as there is. */
const CAP_IPC_LOCK = 14;

/** VFIO as a whole, and every device that is bound to it. */
export function diagnoseVfio(root: string): Diagnosis {
  const name = 'vfio';
  const devices = pciFunctions(join(root, 'sys'));
  if (devices.length === 0) {
    return { name, state: 'absent', summary: 'this machine has no PCI devices', findings: [] };
  }
  const machine = machineFindings(root);
  const bound = devices.filter(({ driver }) => isVfioDriver(driver));
  const sick = bound.map((device) => ({ device, findings: deviceFindings(device, root) }));
  const usable = sick.filter(({ findings }) => !findings.some(({ blocks }) => blocks));
  const findings = [...machine, ...sick.flatMap((each) => each.findings)];
  if (machine.some(({ blocks }) => blocks)) {
    return { name, state: 'fails', summary: 'the kernel cannot give devices to programs', findings };
  }
  if (bound.length === 0) {
    const fix = '"warpdrive vfio list" shows devices, "warpdrive vfio bind ADDRESS" gives one to programs';
    const none = advice('no device is bound to VFIO', fix);
    return { name, state: 'absent', summary: 'it is ready, without a device', findings: [...findings, none] };
  }
  const list = usable.map(({ device }) => `vfio:${device.address}`).join(', ');
  return usable.length > 0
    ? { name, state: 'works', summary: list, findings }
    : { name, state: 'fails', summary: 'no device that is bound can be opened', findings };
}

/** One device, by its address. */
export function diagnoseVfioDevice(address: string, root: string): Diagnosis {
  const name = `vfio:${address}`;
  const device = pciFunction(address, join(root, 'sys'));
  if (!device) {
    const findings = [
      blocking(`there is no PCI function ${address}`, '"warpdrive vfio list" shows what there is'),
    ];
    return { name, state: 'fails', summary: 'no such device', findings };
  }
  const findings = [...machineFindings(root), ...deviceFindings(device, root)];
  return findings.some(({ blocks }) => blocks)
    ? { name, state: 'fails', summary: 'it cannot be opened', findings }
    : { name, state: 'works', summary: `by the driver ${device.driver}`, findings };
}

/** What is wrong with the machine, or with what this process may do. */
function machineFindings(root: string): Finding[] {
  return [...iommuFindings(root), ...moduleFindings(root), ...interruptFindings(root), ...lockFindings(root)];
}

const hasIommu = (root: string): boolean => listFolder(join(root, 'sys/kernel/iommu_groups')).length > 0;

function iommuFindings(root: string): Finding[] {
  if (allowsNoIommu(join(root, 'sys'))) {
    const problem =
      'VFIO is allowed to do without an IOMMU: a device could then reach the memory of everybody';
    return [
      advice(
        problem,
        'echo N > /sys/module/vfio/parameters/enable_unsafe_noiommu_mode, and turn an IOMMU on instead',
      ),
    ];
  }
  if (hasIommu(root)) return [];
  return [blocking('no IOMMU is at work, so nothing would keep a device to its memory', iommuFix(root))];
}

function iommuFix(root: string): string {
  const cpu = readAttribute(join(root, 'proc/cpuinfo')) ?? '';
  const isAmd = cpu.includes('AuthenticAMD');
  const tables = listFolder(join(root, 'sys/firmware/acpi/tables'));
  if (tables.some((table) => ['DMAR', 'IVRS', 'IORT'].includes(table))) {
    const parameters = isAmd ? 'remove amd_iommu=off and iommu=off from' : 'add intel_iommu=on to';
    return `the firmware offers one: ${parameters} the kernel's command line (GRUB_CMDLINE_LINUX in /etc/default/grub, then update-grub), and boot again`;
  }
  if (/^flags\s*:.*\bhypervisor\b/m.test(cpu)) {
    return "this is a virtual machine: have its host give it an IOMMU (QEMU: -device intel-iommu,intremap=on,caching-mode=on), and add intel_iommu=on to the kernel's command line";
  }
  return `turn ${isAmd ? 'AMD-Vi (IOMMU)' : 'VT-d, AMD-Vi or SMMU'} on in the firmware's settings, and boot again`;
}

function moduleFindings(root: string): Finding[] {
  const missing = ['vfio_pci', 'vfio_iommu_type1'].filter(
    (name) => !existsSync(join(root, 'sys/module', name)),
  );
  if (missing.length > 0) {
    const names = missing.map((name) => name.replace('vfio_pci', 'vfio-pci'));
    return [
      blocking(
        `modules of the kernel are not loaded: ${names.join(', ')}`,
        `modprobe vfio-pci, as root; a line "vfio-pci" in /etc/modules-load.d/vfio.conf does it at every start`,
      ),
    ];
  }
  if (existsSync(join(root, CONTAINER_NODE))) return [];
  return [
    blocking(
      `the kernel has VFIO, but ${CONTAINER_NODE} is missing, as in a container`,
      'start the container with --device /dev/vfio/vfio and --device /dev/vfio/GROUP',
    ),
  ];
}

/** x86 alone needs it: elsewhere the IOMMU or the interrupt controller sees to it by itself. */
function interruptFindings(root: string): Finding[] {
  const interrupts = readAttribute(join(root, 'proc/interrupts')) ?? '';
  const isX86 = interrupts.includes('IO-APIC') || interrupts.includes('PCI-MSI');
  if (!hasIommu(root) || !isX86 || interrupts.includes('IR-')) return [];
  const allowed = 'sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts';
  if (readAttribute(join(root, allowed)) === 'Y') {
    return [
      advice(
        'interrupts are not remapped, and VFIO is allowed to do without: a device could raise any interrupt',
        'turn interrupt remapping on in the firmware (x2APIC), or for QEMU with intel-iommu,intremap=on',
      ),
    ];
  }
  return [
    blocking(
      'interrupts are not remapped, so a device could raise any of them; the kernel refuses to open one',
      "turn it on in the firmware (VT-d with x2APIC), for QEMU with intel-iommu,intremap=on; remove intremap=off from the kernel's command line",
    ),
  ];
}

function lockFindings(root: string): Finding[] {
  const limit = /^Max locked memory\s+(\S+)/m.exec(readAttribute(join(root, 'proc/self/limits')) ?? '')?.[1];
  const bits =
    /^CapEff:\s*([0-9a-f]+)/m.exec(readAttribute(join(root, 'proc/self/status')) ?? '')?.[1] ?? '0';
  const isExempt = ((BigInt(`0x${bits}`) >> BigInt(CAP_IPC_LOCK)) & 1n) === 1n;
  if (limit === undefined || limit === 'unlimited' || isExempt || Number(limit) >= LOCKED_BYTES) return [];
  const kib = LOCKED_BYTES / 1024;
  return [
    blocking(
      `this process may lock ${Number(limit) / 1024} KiB of memory, and a device needs ${kib} KiB`,
      `ulimit -l ${kib}, if the hard limit allows; for a user, "${userName()} - memlock ${kib}" in /etc/security/limits.conf and a new login; for a service, LimitMEMLOCK=${kib}K in its systemd unit`,
    ),
  ];
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    // A user without an entry in the database.
    return String(process.getuid?.());
  }
}

/** What is wrong with one device. */
function deviceFindings(device: PciFunction, root: string): Finding[] {
  const { address, group, noIommu } = device;
  const found = obstacle(device, join(root, 'sys'));
  if (found?.blockers) {
    return [
      blocking(
        `${address} cannot be used: IOMMU group ${group} is VFIO's as a whole or not at all, and others have ${memberList(found.blockers)}`,
        `warpdrive vfio bind ${found.blockers.map(({ name }) => name).join(' ')}, if nothing else needs them`,
      ),
    ];
  }
  if (found?.kind === 'driver') {
    return [
      blocking(`${address} is ${found.text}, and not to VFIO`, `as root, warpdrive vfio bind ${address}`),
    ];
  }
  if (found?.kind === 'bridge') {
    return [blocking(`${address} is a bridge`, 'name a device behind it: "warpdrive vfio list"')];
  }
  // Without an IOMMU the machine's findings tell what to do.
  if (found) return [];
  return nodeFindings(address, `/dev/vfio/${noIommu ? 'noiommu-' : ''}${group}`, root);
}

function nodeFindings(address: string, node: string, root: string): Finding[] {
  const path = join(root, node);
  if (!existsSync(path)) {
    return [
      blocking(
        `${address} is bound, but ${node} is missing, as in a container`,
        `start the container with --device ${node}`,
      ),
    ];
  }
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
  } catch {
    return [
      blocking(
        `${address}: this user may not open ${node}`,
        `as root: groupadd -f vfio; usermod -aG vfio ${userName()}; echo 'SUBSYSTEM=="vfio", GROUP="vfio", MODE="0660"' > /etc/udev/rules.d/70-vfio.rules; udevadm control --reload; udevadm trigger -s vfio; then a new login`,
      ),
    ];
  }
  const users = openers(node, root).filter((pid) => pid !== process.pid);
  if (users.length === 0) return [];
  return [
    blocking(
      `${address} is in use by process ${users.join(', ')}`,
      'end that process, or share the device through it: one process at a time has an IOMMU group',
    ),
  ];
}
