import { mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { temporaryFolder } from './support-cli.js';

export interface FakeFunction {
  address: string;
  id?: [vendor: number, device: number];
  classCode?: number;
  driver?: string;
  group?: string;
}

/** A machine's /sys, /proc and /dev, as far as VFIO looks at them: links and files where the kernel has them. */
export class FakeMachine {
  readonly root = mkdtempSync(join(temporaryFolder(), 'machine-'));

  constructor(functions: FakeFunction[] = []) {
    for (const each of functions) this.#add(each);
  }

  /** A machine on which everything is as it should be, with these functions. */
  static healthy(functions: FakeFunction[]): FakeMachine {
    const machine = new FakeMachine(functions);
    machine.write('sys/module/vfio_pci/refcnt', '0');
    machine.write('sys/module/vfio_iommu_type1/refcnt', '0');
    machine.write('dev/vfio/vfio', '');
    machine.write('proc/interrupts', ' 24:  0  0  IR-PCI-MSI 49152-edge  eth0\n');
    machine.write(
      'proc/self/limits',
      'Max locked memory         unlimited            unlimited            bytes\n',
    );
    return machine;
  }

  write(path: string, text: string): void {
    const file = join(this.root, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, `${text}\n`);
  }

  link(path: string, target: string): void {
    const file = join(this.root, path);
    mkdirSync(dirname(file), { recursive: true });
    mkdirSync(join(this.root, target), { recursive: true });
    symlinkSync(join(this.root, target), file);
  }

  #add({ address, id = [0x1234, 0x11e8], classCode = 0xff0000, driver, group }: FakeFunction): void {
    const place = `sys/devices/pci0000:00/${address}`;
    const hex = (value: number, digits: number): string => `0x${value.toString(16).padStart(digits, '0')}`;
    this.write(`${place}/vendor`, hex(id[0], 4));
    this.write(`${place}/device`, hex(id[1], 4));
    this.write(`${place}/class`, hex(classCode, 6));
    this.write(`${place}/driver_override`, '(null)');
    this.link(`sys/bus/pci/devices/${address}`, place);
    if (driver !== undefined) this.link(`${place}/driver`, `sys/bus/pci/drivers/${driver}`);
    if (group === undefined) return;
    this.link(`${place}/iommu_group`, `sys/kernel/iommu_groups/${group}`);
    this.link(`sys/kernel/iommu_groups/${group}/devices/${address}`, place);
    if (driver?.includes('vfio')) this.write(`dev/vfio/${group}`, '');
  }

  /** A disk or a network interface of a function. */
  give(
    address: string,
    kind: 'block' | 'net' | 'nvme',
    name: string,
    attributes: Record<string, string>,
  ): void {
    const place = `sys/devices/pci0000:00/${address}/${kind}/${name}`;
    for (const [attribute, value] of Object.entries(attributes)) this.write(`${place}/${attribute}`, value);
    this.link(`sys/class/${kind}/${name}`, place);
  }
}
