import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Layout } from '../../src/abi/layout.js';
import {
  PCI_BARS,
  PCI_CAPABILITY,
  PCI_COMMAND,
  PCI_CONFIG,
  PCI_EXTENDED,
  PCI_IRQ,
  PCI_MSIX,
  PCI_STATUS_CAPABILITIES,
  PCI_VENDOR_SPECIFIC,
} from '../../src/abi/pci.js';
import { IRQ, IRQ_COUNT, PCI, REGION, REGION_COUNT } from '../../src/abi/registers.js';
import * as kernel from '../../src/abi/vfio.js';
import * as vfio from '../../src/abi/vfio-user.js';
import * as virtio from '../../src/abi/virtio.js';
import * as crypto from '../../src/abi/virtio-crypto.js';
import { ISAL_INFLATE, ISAL_ZSTREAM } from '../../src/device/engines/isal.js';
import { WINDOW_BITS, Z, Z_STREAM } from '../../src/device/engines/zlib-binding.js';
import { SEAL } from '../../src/sys/memfd.js';
import { MAX_FDS } from '../../src/sys/socket.js';
import { requirement } from '../support/requirement.js';

/*
 * Numbers that are copied from C headers, compared with the headers by a C program made from the tables below. Where
 * src keeps a constant to itself, its value is read from the source text, so that no copy of it is checked instead.
 */

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

/** A C expression and the value that src has for it. */
type Check = [expression: string, value: number];

interface Suite {
  name: string;
  includes: string[];
  /** C declarations before main. */
  declarations?: string;
  checks: () => Check[];
}

/** The number that a source file gives a constant: `const NAME = 0x10;`. */
function constant(file: string, name: string): number {
  const text = readFileSync(join(ROOT, file), 'utf8');
  const value = new RegExp(`\\bconst ${name} = (-?\\d\\w*);`).exec(text)?.[1];
  assert.ok(value !== undefined, `${file} has a constant ${name}`);
  return Number(value);
}

/** A field of an object constant: `const NAME = { field: 8, ... }`. */
function member(file: string, name: string, field: string): number {
  const text = readFileSync(join(ROOT, file), 'utf8');
  const body = new RegExp(`\\bconst ${name} = \\{([^}]*)\\}`).exec(text)?.[1] ?? '';
  const value = new RegExp(`\\b${field}: (-?\\d\\w*)`).exec(body)?.[1];
  assert.ok(value !== undefined, `${file} has ${name}.${field}`);
  return Number(value);
}

const named = (file: string, names: string[]): Check[] => names.map((name) => [name, constant(file, name)]);

/** Checks of a structure: its size, and each field by its C name. */
function structure<Field extends string>(
  type: string,
  table: Layout<Field>,
  fields: Record<Field, string>,
  size: number = table.bytes,
): Check[] {
  const checks: Check[] = [[`sizeof(${type})`, size]];
  for (const [field, c] of Object.entries(fields) as [Field, string][]) {
    checks.push([`offsetof(${type}, ${c})`, table.offset[field]]);
  }
  return checks;
}

const SUITES: Suite[] = [
  {
    name: 'VFIO structures and constants',
    includes: ['linux/vfio.h'],
    checks: () => [
      // vfio-user carries the first four words of vfio_device_info; the kernel's has grown since.
      ...structure('struct vfio_device_info', vfio.DEVICE_INFO, {
        argsz: 'argsz',
        flags: 'flags',
        numRegions: 'num_regions',
        numIrqs: 'num_irqs',
      }).slice(1),
      ...structure('struct vfio_region_info', vfio.REGION_INFO, {
        argsz: 'argsz',
        flags: 'flags',
        index: 'index',
        capOffset: 'cap_offset',
        size: 'size',
        offset: 'offset',
      }),
      ...structure('struct vfio_irq_info', vfio.IRQ_INFO, {
        argsz: 'argsz',
        flags: 'flags',
        index: 'index',
        count: 'count',
      }),
      ...structure('struct vfio_irq_set', vfio.IRQ_SET, {
        argsz: 'argsz',
        flags: 'flags',
        index: 'index',
        start: 'start',
        count: 'count',
      }),
      ...structure('struct vfio_info_cap_header', vfio.CAP_HEADER, {
        id: 'id',
        version: 'version',
        next: 'next',
      }),
      ['sizeof(struct vfio_region_info_cap_sparse_mmap)', vfio.CAP_HEADER.bytes + vfio.SPARSE_MMAP.bytes],
      [
        'offsetof(struct vfio_region_info_cap_sparse_mmap, nr_areas)',
        vfio.CAP_HEADER.bytes + vfio.SPARSE_MMAP.offset.areas,
      ],
      [
        'offsetof(struct vfio_region_info_cap_sparse_mmap, reserved)',
        vfio.CAP_HEADER.bytes + vfio.SPARSE_MMAP.offset.reserved,
      ],
      [
        'offsetof(struct vfio_region_info_cap_sparse_mmap, areas)',
        vfio.CAP_HEADER.bytes + vfio.SPARSE_MMAP.bytes,
      ],
      ...structure('struct vfio_region_sparse_mmap_area', vfio.SPARSE_AREA, {
        offset: 'offset',
        size: 'size',
      }),
      ['VFIO_REGION_INFO_CAP_SPARSE_MMAP', vfio.CAP_SPARSE_MMAP],
      ['VFIO_DEVICE_FLAGS_RESET', vfio.DEVICE_FLAG.reset],
      ['VFIO_DEVICE_FLAGS_PCI', vfio.DEVICE_FLAG.pci],
      ['VFIO_REGION_INFO_FLAG_READ', vfio.REGION_FLAG.read],
      ['VFIO_REGION_INFO_FLAG_WRITE', vfio.REGION_FLAG.write],
      ['VFIO_REGION_INFO_FLAG_MMAP', vfio.REGION_FLAG.mmap],
      ['VFIO_REGION_INFO_FLAG_CAPS', vfio.REGION_FLAG.caps],
      ['VFIO_IRQ_INFO_EVENTFD', vfio.IRQ_FLAG.eventfd],
      ['VFIO_IRQ_INFO_MASKABLE', vfio.IRQ_FLAG.maskable],
      ['VFIO_IRQ_INFO_AUTOMASKED', vfio.IRQ_FLAG.automasked],
      ['VFIO_IRQ_INFO_NORESIZE', vfio.IRQ_FLAG.noresize],
      ['VFIO_IRQ_SET_DATA_NONE', vfio.IRQ_SET_FLAG.none],
      ['VFIO_IRQ_SET_DATA_BOOL', vfio.IRQ_SET_FLAG.bool],
      ['VFIO_IRQ_SET_DATA_EVENTFD', vfio.IRQ_SET_FLAG.eventfd],
      ['VFIO_IRQ_SET_ACTION_MASK', vfio.IRQ_SET_FLAG.mask],
      ['VFIO_IRQ_SET_ACTION_UNMASK', vfio.IRQ_SET_FLAG.unmask],
      ['VFIO_IRQ_SET_ACTION_TRIGGER', vfio.IRQ_SET_FLAG.trigger],
      ['VFIO_DMA_MAP_FLAG_READ', vfio.DMA_FLAG.read],
      ['VFIO_DMA_MAP_FLAG_WRITE', vfio.DMA_FLAG.write],
      ['VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP', vfio.DMA_UNMAP_FLAG.dirtyBitmap],
      ['VFIO_DMA_UNMAP_FLAG_ALL', vfio.DMA_UNMAP_FLAG.all],
      ['VFIO_PCI_BAR0_REGION_INDEX', REGION.registers],
      ['VFIO_PCI_BAR2_REGION_INDEX', REGION.doorbells],
      ['VFIO_PCI_BAR4_REGION_INDEX', REGION.status],
      ['VFIO_PCI_BAR5_REGION_INDEX', REGION.description],
      ['VFIO_PCI_CONFIG_REGION_INDEX', REGION.config],
      ['VFIO_PCI_NUM_REGIONS', REGION_COUNT],
      ['VFIO_PCI_MSIX_IRQ_INDEX', IRQ.msix],
      ['VFIO_PCI_ERR_IRQ_INDEX', IRQ.error],
      ['VFIO_PCI_NUM_IRQS', IRQ_COUNT],
    ],
  },
  {
    name: 'VFIO of the kernel',
    includes: ['linux/vfio.h'],
    checks: () => [
      ['VFIO_API_VERSION', kernel.VFIO_API_VERSION],
      ['VFIO_GET_API_VERSION', kernel.VFIO.getApiVersion],
      ['VFIO_CHECK_EXTENSION', kernel.VFIO.checkExtension],
      ['VFIO_SET_IOMMU', kernel.VFIO.setIommu],
      ['VFIO_GROUP_GET_STATUS', kernel.VFIO.groupGetStatus],
      ['VFIO_GROUP_SET_CONTAINER', kernel.VFIO.groupSetContainer],
      ['VFIO_GROUP_GET_DEVICE_FD', kernel.VFIO.groupGetDeviceFd],
      ['VFIO_DEVICE_GET_INFO', kernel.VFIO.deviceGetInfo],
      ['VFIO_DEVICE_GET_REGION_INFO', kernel.VFIO.deviceGetRegionInfo],
      ['VFIO_DEVICE_GET_IRQ_INFO', kernel.VFIO.deviceGetIrqInfo],
      ['VFIO_DEVICE_SET_IRQS', kernel.VFIO.deviceSetIrqs],
      ['VFIO_DEVICE_RESET', kernel.VFIO.deviceReset],
      ['VFIO_IOMMU_GET_INFO', kernel.VFIO.iommuGetInfo],
      ['VFIO_IOMMU_MAP_DMA', kernel.VFIO.iommuMapDma],
      ['VFIO_IOMMU_UNMAP_DMA', kernel.VFIO.iommuUnmapDma],
      ['VFIO_TYPE1v2_IOMMU', kernel.IOMMU_TYPE.type1v2],
      ['VFIO_NOIOMMU_IOMMU', kernel.IOMMU_TYPE.noiommu],
      ['VFIO_GROUP_FLAGS_VIABLE', kernel.GROUP_VIABLE],
      ['VFIO_REGION_INFO_CAP_MSIX_MAPPABLE', kernel.CAP_MSIX_MAPPABLE],
      ['VFIO_IOMMU_INFO_CAPS', kernel.TYPE1_INFO_CAPS],
      ['VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE', kernel.CAP_IOVA_RANGE],
      ['VFIO_PCI_INTX_IRQ_INDEX', PCI_IRQ.intx],
      ['VFIO_PCI_MSI_IRQ_INDEX', PCI_IRQ.msi],
      ['VFIO_PCI_MSIX_IRQ_INDEX', PCI_IRQ.msix],
      ['VFIO_PCI_ERR_IRQ_INDEX', PCI_IRQ.error],
      ['VFIO_PCI_REQ_IRQ_INDEX', PCI_IRQ.request],
      ...structure('struct vfio_group_status', kernel.GROUP_STATUS, { argsz: 'argsz', flags: 'flags' }),
      // Later kernels have made its padding a field.
      ...structure('struct vfio_iommu_type1_info', kernel.TYPE1_INFO, {
        argsz: 'argsz',
        flags: 'flags',
        pageSizes: 'iova_pgsizes',
        capOffset: 'cap_offset',
      }),
      ...structure('struct vfio_iova_range', kernel.IOVA_RANGE, { start: 'start', last: 'end' }),
      [
        'offsetof(struct vfio_iommu_type1_info_cap_iova_range, nr_iovas)',
        vfio.CAP_HEADER.bytes + kernel.IOVA_RANGES.offset.count,
      ],
      [
        'offsetof(struct vfio_iommu_type1_info_cap_iova_range, iova_ranges)',
        vfio.CAP_HEADER.bytes + kernel.IOVA_RANGES.bytes,
      ],
      ...structure('struct vfio_iommu_type1_dma_map', kernel.TYPE1_MAP, {
        argsz: 'argsz',
        flags: 'flags',
        address: 'vaddr',
        iova: 'iova',
        size: 'size',
      }),
      ...structure('struct vfio_iommu_type1_dma_unmap', kernel.TYPE1_UNMAP, {
        argsz: 'argsz',
        flags: 'flags',
        iova: 'iova',
        size: 'size',
      }),
    ],
  },
  {
    name: 'iommufd, as <linux/iommufd.h> and <linux/vfio.h> of Linux 6.6 declare it: Debian 12 has neither',
    includes: ['stdint.h', 'stddef.h', 'linux/ioctl.h'],
    declarations: `
      struct bind { uint32_t argsz, flags; int32_t iommufd; uint32_t out_devid; };
      struct attach { uint32_t argsz, flags, pt_id; };
      struct ioas { uint32_t size, flags, out_ioas_id; };
      struct ranges { uint32_t size, ioas_id, num_iovas, reserved; uint64_t allowed_iovas, out_iova_alignment; };
      struct map { uint32_t size, flags, ioas_id, reserved; uint64_t user_va, length, iova; };
      struct unmap { uint32_t size, ioas_id; uint64_t iova, length; };`,
    checks: () => [
      ["_IO(';', 100 + 18)", kernel.VFIO_CDEV.bindIommufd],
      ["_IO(';', 100 + 19)", kernel.VFIO_CDEV.attachIommufdPt],
      ["_IO(';', 0x81)", kernel.IOMMUFD.ioasAlloc],
      ["_IO(';', 0x84)", kernel.IOMMUFD.ioasIovaRanges],
      ["_IO(';', 0x85)", kernel.IOMMUFD.ioasMap],
      ["_IO(';', 0x86)", kernel.IOMMUFD.ioasUnmap],
      ...structure('struct bind', kernel.BIND_IOMMUFD, {
        argsz: 'argsz',
        flags: 'flags',
        iommufd: 'iommufd',
        deviceId: 'out_devid',
      }),
      ...structure('struct attach', kernel.ATTACH_IOMMUFD_PT, {
        argsz: 'argsz',
        flags: 'flags',
        ioasId: 'pt_id',
      }),
      ...structure('struct ioas', kernel.IOAS_ALLOC, { size: 'size', flags: 'flags', ioasId: 'out_ioas_id' }),
      ...structure('struct ranges', kernel.IOAS_IOVA_RANGES, {
        size: 'size',
        ioasId: 'ioas_id',
        count: 'num_iovas',
        reserved: 'reserved',
        ranges: 'allowed_iovas',
        alignment: 'out_iova_alignment',
      }),
      ...structure('struct map', kernel.IOAS_MAP, {
        size: 'size',
        flags: 'flags',
        ioasId: 'ioas_id',
        reserved: 'reserved',
        address: 'user_va',
        length: 'length',
        iova: 'iova',
      }),
      ...structure('struct unmap', kernel.IOAS_UNMAP, {
        size: 'size',
        ioasId: 'ioas_id',
        iova: 'iova',
        length: 'length',
      }),
    ],
  },
  {
    name: "vfio-user's own structures, as its text declares them",
    includes: ['stdint.h', 'stddef.h'],
    declarations: `
      struct header { uint16_t id, command; uint32_t size, flags, error; } __attribute__((packed));
      struct version { uint16_t major, minor; } __attribute__((packed));
      struct map { uint32_t argsz, flags; uint64_t offset, address, size; } __attribute__((packed));
      struct unmap { uint32_t argsz, flags; uint64_t address, size; } __attribute__((packed));
      struct access { uint64_t offset; uint32_t region, count; } __attribute__((packed));
      struct dma { uint64_t address, count; } __attribute__((packed));
      struct writes { uint64_t count; } __attribute__((packed));
      struct write { uint64_t offset; uint32_t region, count; uint64_t data; } __attribute__((packed));
      struct io_fds { uint32_t argsz, flags, index, count; } __attribute__((packed));
      struct io_fd { uint64_t offset, size; uint32_t fd_index, type, flags, padding; uint64_t datamatch; }
        __attribute__((packed));`,
    checks: () => [
      ...structure('struct header', vfio.HEADER, {
        id: 'id',
        command: 'command',
        size: 'size',
        flags: 'flags',
        error: 'error',
      }),
      ...structure('struct version', vfio.VERSION_FIXED, { major: 'major', minor: 'minor' }),
      ...structure('struct map', vfio.DMA_MAP, {
        argsz: 'argsz',
        flags: 'flags',
        offset: 'offset',
        address: 'address',
        size: 'size',
      }),
      ...structure('struct unmap', vfio.DMA_UNMAP, {
        argsz: 'argsz',
        flags: 'flags',
        address: 'address',
        size: 'size',
      }),
      ...structure('struct access', vfio.REGION_ACCESS, {
        offset: 'offset',
        region: 'region',
        count: 'count',
      }),
      ...structure('struct dma', vfio.DMA_ACCESS, { address: 'address', count: 'count' }),
      ...structure('struct writes', vfio.WRITE_MULTI, { count: 'count' }),
      ...structure('struct write', vfio.WRITE_MULTI_ENTRY, {
        offset: 'offset',
        region: 'region',
        count: 'count',
        data: 'data',
      }),
      ...structure('struct io_fds', vfio.REGION_IO_FDS, {
        argsz: 'argsz',
        flags: 'flags',
        index: 'index',
        count: 'count',
      }),
      ...structure('struct io_fd', vfio.IO_FD_ENTRY, {
        offset: 'offset',
        size: 'size',
        fdIndex: 'fd_index',
        type: 'type',
        flags: 'flags',
        padding: 'padding',
        datamatch: 'datamatch',
      }),
    ],
  },
  {
    name: 'PCI configuration space',
    includes: ['linux/pci_regs.h', 'linux/vfio.h'],
    checks: () => [
      ['PCI_VENDOR_ID', PCI.offset.vendorId],
      ['PCI_DEVICE_ID', PCI.offset.deviceId],
      ['PCI_COMMAND', PCI.offset.command],
      ['PCI_STATUS', PCI.offset.status],
      ['PCI_REVISION_ID', PCI.offset.revision],
      ['PCI_CLASS_PROG', PCI.offset.classCode],
      ['PCI_HEADER_TYPE', PCI.offset.headerType],
      ['PCI_CFG_SPACE_SIZE', PCI.configBytes],
      ['PCI_STATUS', PCI_CONFIG.status],
      ['PCI_COMMAND_MEMORY', PCI_COMMAND.memory],
      ['PCI_COMMAND_MASTER', PCI_COMMAND.busMaster],
      ['PCI_COMMAND_INTX_DISABLE', PCI_COMMAND.intxDisable],
      ['PCI_STD_HEADER_SIZEOF', PCI_CONFIG.headerBytes],
      ['PCI_SUBSYSTEM_VENDOR_ID', PCI_CONFIG.subsystemVendorId],
      ['PCI_SUBSYSTEM_ID', PCI_CONFIG.subsystemId],
      ['PCI_CAPABILITY_LIST', PCI_CONFIG.capabilities],
      ['PCI_CFG_SPACE_EXP_SIZE', PCI_CONFIG.extendedBytes],
      ['PCI_STATUS_CAP_LIST', PCI_STATUS_CAPABILITIES],
      ['PCI_CAP_LIST_ID', PCI_CAPABILITY.id],
      ['PCI_CAP_LIST_NEXT', PCI_CAPABILITY.next],
      ['PCI_CAP_ID_MSIX', PCI_MSIX.id],
      ['PCI_MSIX_FLAGS', PCI_MSIX.control],
      ['PCI_MSIX_FLAGS_QSIZE', PCI_MSIX.sizeMask],
      ['PCI_CAP_ID_VNDR', PCI_VENDOR_SPECIFIC],
      ['VFIO_PCI_ROM_REGION_INDEX', PCI_BARS],
      ['PCI_EXT_CAP_ID(0x1234abcd)', 0x1234abcd & PCI_EXTENDED.idMask],
      ['PCI_EXT_CAP_VER(0x1234abcd)', (0x1234abcd >>> PCI_EXTENDED.versionShift) & PCI_EXTENDED.versionMask],
      ['PCI_EXT_CAP_NEXT(0x1234abcd)', (0x1234abcd >>> PCI_EXTENDED.nextShift) & ~3],
    ],
  },
  {
    name: 'virtio over PCI',
    includes: ['linux/virtio_pci.h', 'linux/virtio_ring.h', 'linux/virtio_config.h'],
    checks: () => [
      ...structure('struct virtio_pci_cap', virtio.VIRTIO_CAPABILITY, {
        id: 'cap_vndr',
        next: 'cap_next',
        length: 'cap_len',
        type: 'cfg_type',
        bar: 'bar',
        instance: 'id',
        padding: 'padding',
        offset: 'offset',
        bytes: 'length',
      }),
      ['offsetof(struct virtio_pci_notify_cap, notify_off_multiplier)', virtio.VIRTIO_NOTIFY_MULTIPLIER],
      ['VIRTIO_PCI_CAP_COMMON_CFG', virtio.VIRTIO_STRUCTURE.common],
      ['VIRTIO_PCI_CAP_NOTIFY_CFG', virtio.VIRTIO_STRUCTURE.notify],
      ['VIRTIO_PCI_CAP_ISR_CFG', virtio.VIRTIO_STRUCTURE.isr],
      ['VIRTIO_PCI_CAP_DEVICE_CFG', virtio.VIRTIO_STRUCTURE.device],
      ...structure('struct virtio_pci_common_cfg', virtio.VIRTIO_COMMON, {
        deviceFeatureSelect: 'device_feature_select',
        deviceFeature: 'device_feature',
        driverFeatureSelect: 'guest_feature_select',
        driverFeature: 'guest_feature',
        configVector: 'msix_config',
        queues: 'num_queues',
        deviceStatus: 'device_status',
        configGeneration: 'config_generation',
        queueSelect: 'queue_select',
        queueSize: 'queue_size',
        queueVector: 'queue_msix_vector',
        queueEnable: 'queue_enable',
        queueNotifyOffset: 'queue_notify_off',
        descriptorsLow: 'queue_desc_lo',
        descriptorsHigh: 'queue_desc_hi',
        availableLow: 'queue_avail_lo',
        availableHigh: 'queue_avail_hi',
        usedLow: 'queue_used_lo',
        usedHigh: 'queue_used_hi',
      }),
      ['VIRTIO_MSI_NO_VECTOR', virtio.VIRTIO_NO_VECTOR],
      ['VIRTIO_CONFIG_S_ACKNOWLEDGE', virtio.VIRTIO_STATUS.acknowledge],
      ['VIRTIO_CONFIG_S_DRIVER', virtio.VIRTIO_STATUS.driver],
      ['VIRTIO_CONFIG_S_DRIVER_OK', virtio.VIRTIO_STATUS.driverOk],
      ['VIRTIO_CONFIG_S_FEATURES_OK', virtio.VIRTIO_STATUS.featuresOk],
      ['VIRTIO_CONFIG_S_NEEDS_RESET', virtio.VIRTIO_STATUS.needsReset],
      ['VIRTIO_CONFIG_S_FAILED', virtio.VIRTIO_STATUS.failed],
      ['VIRTIO_RING_F_INDIRECT_DESC', virtio.VIRTIO_FEATURE.indirectDescriptors],
      ['VIRTIO_RING_F_EVENT_IDX', virtio.VIRTIO_FEATURE.eventIndex],
      ['VIRTIO_F_VERSION_1', virtio.VIRTIO_FEATURE.version1],
      ['VIRTIO_F_ACCESS_PLATFORM', virtio.VIRTIO_FEATURE.accessPlatform],
      ...structure('struct vring_desc', virtio.VIRTQ_DESCRIPTOR, {
        address: 'addr',
        length: 'len',
        flags: 'flags',
        next: 'next',
      }),
      ['VRING_DESC_F_NEXT', virtio.VIRTQ_DESCRIPTOR_FLAG.next],
      ['VRING_DESC_F_WRITE', virtio.VIRTQ_DESCRIPTOR_FLAG.write],
      ['VRING_DESC_F_INDIRECT', virtio.VIRTQ_DESCRIPTOR_FLAG.indirect],
      ['offsetof(struct vring_avail, flags)', virtio.VIRTQ_RING.offset.flags],
      ['offsetof(struct vring_avail, idx)', virtio.VIRTQ_RING.offset.index],
      ['offsetof(struct vring_avail, ring)', virtio.VIRTQ_RING.bytes],
      ['offsetof(struct vring_used, flags)', virtio.VIRTQ_RING.offset.flags],
      ['offsetof(struct vring_used, idx)', virtio.VIRTQ_RING.offset.index],
      ['offsetof(struct vring_used, ring)', virtio.VIRTQ_RING.bytes],
      ...structure('struct vring_used_elem', virtio.VIRTQ_USED_ELEMENT, { id: 'id', length: 'len' }),
      ['VRING_AVAIL_F_NO_INTERRUPT', virtio.VIRTQ_QUIET],
      ['VRING_USED_F_NO_NOTIFY', virtio.VIRTQ_QUIET],
    ],
  },
  {
    name: 'virtio-crypto',
    includes: ['linux/virtio_crypto.h', 'linux/virtio_ids.h'],
    checks: () => {
      const field = (type: string, fields: Record<string, number>): Check[] =>
        Object.entries(fields).map(([c, offset]) => [`offsetof(struct ${type}, ${c})`, offset]);
      const create = crypto.CRYPTO_CREATE_SESSION;
      const createRsa = crypto.CRYPTO_CREATE_RSA_SESSION;
      const destroy = crypto.CRYPTO_DESTROY_SESSION;
      const answer = crypto.CRYPTO_SESSION_ANSWER;
      const request = crypto.CRYPTO_CIPHER_REQUEST;
      const keyed = crypto.CRYPTO_AKCIPHER_REQUEST;
      const session = 'u.sym_create_session.u.cipher.para';
      const rsaSession = 'u.akcipher_create_session.para';
      const cipher = 'u.sym_req.u.cipher.para';
      return [
        ['VIRTIO_ID_CRYPTO', crypto.VIRTIO_CRYPTO_ID],
        ...structure('struct virtio_crypto_config', crypto.CRYPTO_CONFIG, {
          status: 'status',
          maxDataQueues: 'max_dataqueues',
          services: 'crypto_services',
          cipherLow: 'cipher_algo_l',
          cipherHigh: 'cipher_algo_h',
          hash: 'hash_algo',
          macLow: 'mac_algo_l',
          macHigh: 'mac_algo_h',
          aead: 'aead_algo',
          maxCipherKey: 'max_cipher_key_len',
          maxMacKey: 'max_auth_key_len',
          akcipher: 'akcipher_algo',
          maxSize: 'max_size',
        }),
        ['VIRTIO_CRYPTO_S_HW_READY', crypto.CRYPTO_READY],
        ['VIRTIO_CRYPTO_CIPHER_ENCRYPT', crypto.CRYPTO_OPCODE.encrypt],
        ['VIRTIO_CRYPTO_CIPHER_DECRYPT', crypto.CRYPTO_OPCODE.decrypt],
        ['VIRTIO_CRYPTO_CIPHER_CREATE_SESSION', crypto.CRYPTO_OPCODE.createSession],
        ['VIRTIO_CRYPTO_CIPHER_DESTROY_SESSION', crypto.CRYPTO_OPCODE.destroySession],
        ['VIRTIO_CRYPTO_CIPHER_AES_ECB', crypto.CRYPTO_CIPHER.aesEcb],
        ['VIRTIO_CRYPTO_CIPHER_AES_CBC', crypto.CRYPTO_CIPHER.aesCbc],
        ['VIRTIO_CRYPTO_CIPHER_AES_CTR', crypto.CRYPTO_CIPHER.aesCtr],
        ['VIRTIO_CRYPTO_CIPHER_AES_XTS', crypto.CRYPTO_CIPHER.aesXts],
        ['VIRTIO_CRYPTO_SERVICE_AKCIPHER', crypto.CRYPTO_SERVICE_AKCIPHER],
        ['VIRTIO_CRYPTO_AKCIPHER_SIGN', crypto.CRYPTO_AKCIPHER_OPCODE.sign],
        ['VIRTIO_CRYPTO_AKCIPHER_VERIFY', crypto.CRYPTO_AKCIPHER_OPCODE.verify],
        ['VIRTIO_CRYPTO_AKCIPHER_CREATE_SESSION', crypto.CRYPTO_AKCIPHER_OPCODE.createSession],
        ['VIRTIO_CRYPTO_AKCIPHER_DESTROY_SESSION', crypto.CRYPTO_AKCIPHER_OPCODE.destroySession],
        ['VIRTIO_CRYPTO_AKCIPHER_RSA', crypto.CRYPTO_AKCIPHER.rsa],
        ['VIRTIO_CRYPTO_AKCIPHER_KEY_TYPE_PUBLIC', crypto.CRYPTO_KEY_TYPE.public],
        ['VIRTIO_CRYPTO_AKCIPHER_KEY_TYPE_PRIVATE', crypto.CRYPTO_KEY_TYPE.private],
        ['VIRTIO_CRYPTO_RSA_PKCS1_PADDING', crypto.CRYPTO_RSA_PADDING.pkcs1],
        ['VIRTIO_CRYPTO_RSA_SHA1', crypto.CRYPTO_RSA_HASH.sha1],
        ['VIRTIO_CRYPTO_RSA_SHA224', crypto.CRYPTO_RSA_HASH.sha224],
        ['VIRTIO_CRYPTO_RSA_SHA256', crypto.CRYPTO_RSA_HASH.sha256],
        ['VIRTIO_CRYPTO_RSA_SHA384', crypto.CRYPTO_RSA_HASH.sha384],
        ['VIRTIO_CRYPTO_RSA_SHA512', crypto.CRYPTO_RSA_HASH.sha512],
        ['VIRTIO_CRYPTO_OP_ENCRYPT', crypto.CRYPTO_DIRECTION.encrypt],
        ['VIRTIO_CRYPTO_OP_DECRYPT', crypto.CRYPTO_DIRECTION.decrypt],
        ['VIRTIO_CRYPTO_SYM_OP_CIPHER', crypto.CRYPTO_SYMMETRIC.cipher],
        ['VIRTIO_CRYPTO_OK', crypto.CRYPTO_STATUS.ok],
        ['VIRTIO_CRYPTO_ERR', crypto.CRYPTO_STATUS.error],
        ['VIRTIO_CRYPTO_BADMSG', crypto.CRYPTO_STATUS.badMessage],
        ['VIRTIO_CRYPTO_NOTSUPP', crypto.CRYPTO_STATUS.unsupported],
        ['VIRTIO_CRYPTO_INVSESS', crypto.CRYPTO_STATUS.badSession],
        ['VIRTIO_CRYPTO_NOSPC', crypto.CRYPTO_STATUS.noSpace],
        ['VIRTIO_CRYPTO_KEY_REJECTED', crypto.CRYPTO_STATUS.keyRejected],
        ['sizeof(struct virtio_crypto_op_ctrl_req)', create.bytes],
        ...field('virtio_crypto_op_ctrl_req', {
          'header.opcode': create.offset.opcode,
          'header.algo': create.offset.algorithm,
          'header.flag': create.offset.flag,
          'header.queue_id': create.offset.queue,
          [`${session}.algo`]: create.offset.cipher,
          [`${session}.keylen`]: create.offset.keyLength,
          [`${session}.op`]: create.offset.direction,
          'u.sym_create_session.op_type': create.offset.kind,
          [`${rsaSession}.algo`]: createRsa.offset.akcipher,
          [`${rsaSession}.keytype`]: createRsa.offset.keyType,
          [`${rsaSession}.keylen`]: createRsa.offset.keyLength,
          [`${rsaSession}.u.rsa.padding_algo`]: createRsa.offset.padding,
          [`${rsaSession}.u.rsa.hash_algo`]: createRsa.offset.hash,
          'u.destroy_session.session_id': destroy.offset.sessionLow,
        }),
        ['sizeof(struct virtio_crypto_session_input)', answer.bytes],
        ...field('virtio_crypto_session_input', {
          session_id: answer.offset.sessionLow,
          status: answer.offset.status,
        }),
        ['sizeof(struct virtio_crypto_op_data_req)', request.bytes],
        ...field('virtio_crypto_op_data_req', {
          'header.opcode': request.offset.opcode,
          'header.algo': request.offset.algorithm,
          'header.session_id': request.offset.sessionLow,
          'header.flag': request.offset.flag,
          [`${cipher}.iv_len`]: request.offset.ivLength,
          [`${cipher}.src_data_len`]: request.offset.sourceLength,
          [`${cipher}.dst_data_len`]: request.offset.destinationLength,
          'u.sym_req.op_type': request.offset.kind,
          'u.akcipher_req.para.src_data_len': keyed.offset.sourceLength,
          'u.akcipher_req.para.dst_data_len': keyed.offset.destinationLength,
        }),
      ];
    },
  },
  {
    name: 'sockets (src/sys/socket.ts)',
    includes: ['sys/socket.h', 'sys/uio.h'],
    checks: () => {
      const file = 'src/sys/socket.ts';
      const header: Check[] = [
        ['iov', 'msg_iov'],
        ['iovlen', 'msg_iovlen'],
        ['control', 'msg_control'],
        ['controllen', 'msg_controllen'],
        ['flags', 'msg_flags'],
      ].map(([field, c]) => [`offsetof(struct msghdr, ${c})`, member(file, 'MSGHDR', field!)]);
      const control: Check[] = [
        ['len', 'cmsg_len'],
        ['level', 'cmsg_level'],
        ['type', 'cmsg_type'],
      ].map(([field, c]) => [`offsetof(struct cmsghdr, ${c})`, member(file, 'CMSGHDR', field!)]);
      return [
        ...named(file, [
          'AF_UNIX',
          'SOCK_STREAM',
          'SOCK_NONBLOCK',
          'SOCK_CLOEXEC',
          'SOL_SOCKET',
          'SCM_RIGHTS',
          'MSG_CTRUNC',
          'MSG_NOSIGNAL',
          'MSG_CMSG_CLOEXEC',
        ]),
        ['sizeof(struct msghdr)', member(file, 'MSGHDR', 'bytes')],
        ...header,
        ['sizeof(struct iovec)', constant(file, 'IOVEC_BYTES')],
        ['offsetof(struct iovec, iov_base)', 0],
        ['offsetof(struct iovec, iov_len)', 8],
        ['sizeof(struct cmsghdr)', member(file, 'CMSGHDR', 'bytes')],
        ...control,
        ['CMSG_LEN(0)', member(file, 'CMSGHDR', 'bytes')],
        [`CMSG_SPACE(${MAX_FDS} * sizeof(int))`, member(file, 'CMSGHDR', 'bytes') + MAX_FDS * 4],
      ];
    },
  },
  {
    name: 'memory (src/sys/memory.ts, src/sys/memfd.ts)',
    includes: ['sys/mman.h', 'fcntl.h', 'unistd.h'],
    checks: () => [
      ...named('src/sys/memory.ts', [
        'PROT_READ',
        'PROT_WRITE',
        'MAP_SHARED',
        'MAP_PRIVATE',
        'MAP_ANONYMOUS',
        'MAP_NORESERVE',
      ]),
      ...named('src/sys/memfd.ts', ['MFD_CLOEXEC', 'MFD_ALLOW_SEALING', 'F_ADD_SEALS', 'F_GET_SEALS']),
      ['F_SEAL_SEAL', SEAL.seal],
      ['F_SEAL_SHRINK', SEAL.shrink],
      ['F_SEAL_GROW', SEAL.grow],
      ['F_SEAL_WRITE', SEAL.write],
      ['F_SEAL_FUTURE_WRITE', SEAL.futureWrite],
      ['sysconf(_SC_PAGESIZE)', constant('src/sys/memory.ts', 'PAGE_BYTES')],
    ],
  },
  {
    name: 'descriptors (src/sys/fd.ts)',
    includes: ['sys/eventfd.h', 'fcntl.h', 'poll.h'],
    checks: () => [
      ...named('src/sys/fd.ts', [
        'O_RDWR',
        'O_CLOEXEC',
        'O_NONBLOCK',
        'POLLIN',
        'F_DUPFD_CLOEXEC',
        'F_SETFL',
      ]),
      ['EFD_CLOEXEC', constant('src/sys/fd.ts', 'O_CLOEXEC')],
      ['EFD_NONBLOCK', constant('src/sys/fd.ts', 'O_NONBLOCK')],
      ['sizeof(struct pollfd)', 8],
      ['offsetof(struct pollfd, fd)', 0],
      ['offsetof(struct pollfd, events)', 4],
      ['offsetof(struct pollfd, revents)', 6],
    ],
  },
  {
    name: 'zlib (src/device/engines/zlib-binding.ts)',
    includes: ['zlib.h'],
    checks: () => [
      ['sizeof(z_stream)', Z_STREAM.bytes],
      ['offsetof(z_stream, next_in)', Z_STREAM.nextIn],
      ['offsetof(z_stream, avail_in)', Z_STREAM.availIn],
      ['offsetof(z_stream, total_in)', Z_STREAM.totalIn],
      ['offsetof(z_stream, next_out)', Z_STREAM.nextOut],
      ['offsetof(z_stream, avail_out)', Z_STREAM.availOut],
      ['offsetof(z_stream, total_out)', Z_STREAM.totalOut],
      ['offsetof(z_stream, data_type)', Z_STREAM.dataType],
      ['Z_OK', Z.ok],
      ['Z_STREAM_END', Z.streamEnd],
      ['Z_NEED_DICT', Z.needDictionary],
      ['Z_DATA_ERROR', Z.dataError],
      ['Z_MEM_ERROR', Z.memoryError],
      ['Z_BUF_ERROR', Z.bufferError],
      ['Z_NO_FLUSH', Z.noFlush],
      ['Z_SYNC_FLUSH', Z.syncFlush],
      ['Z_FINISH', Z.finish],
      ['Z_BLOCK', Z.block],
      ['Z_DEFLATED', Z.deflated],
      ['MAX_WBITS', WINDOW_BITS.zlib],
    ],
  },
  {
    name: 'ISA-L (src/device/engines/isal.ts)',
    includes: ['isa-l/igzip_lib.h'],
    checks: () => [
      ['sizeof(struct isal_zstream)', ISAL_ZSTREAM.bytes],
      ['offsetof(struct isal_zstream, next_in)', ISAL_ZSTREAM.nextIn],
      ['offsetof(struct isal_zstream, avail_in)', ISAL_ZSTREAM.availIn],
      ['offsetof(struct isal_zstream, next_out)', ISAL_ZSTREAM.nextOut],
      ['offsetof(struct isal_zstream, avail_out)', ISAL_ZSTREAM.availOut],
      ['offsetof(struct isal_zstream, total_out)', ISAL_ZSTREAM.totalOut],
      ['offsetof(struct isal_zstream, level)', ISAL_ZSTREAM.level],
      ['offsetof(struct isal_zstream, level_buf_size)', ISAL_ZSTREAM.levelBufSize],
      ['offsetof(struct isal_zstream, level_buf)', ISAL_ZSTREAM.levelBuf],
      ['offsetof(struct isal_zstream, end_of_stream)', ISAL_ZSTREAM.endOfStream],
      ['offsetof(struct isal_zstream, flush)', ISAL_ZSTREAM.flush],
      ['offsetof(struct isal_zstream, gzip_flag)', ISAL_ZSTREAM.gzipFlag],
      // Written together, as one word each.
      ['offsetof(struct isal_zstream, flush) - offsetof(struct isal_zstream, end_of_stream)', 2],
      ['offsetof(struct isal_zstream, hist_bits) - offsetof(struct isal_zstream, gzip_flag)', 2],
      ['sizeof(struct inflate_state)', ISAL_INFLATE.bytes],
      ['offsetof(struct inflate_state, next_out)', ISAL_INFLATE.nextOut],
      ['offsetof(struct inflate_state, avail_out)', ISAL_INFLATE.availOut],
      ['offsetof(struct inflate_state, next_in)', ISAL_INFLATE.nextIn],
      ['offsetof(struct inflate_state, read_in)', ISAL_INFLATE.readIn],
      ['offsetof(struct inflate_state, avail_in)', ISAL_INFLATE.availIn],
      ['offsetof(struct inflate_state, read_in_length)', ISAL_INFLATE.readInLength],
      ['offsetof(struct inflate_state, block_state)', ISAL_INFLATE.blockState],
      ['offsetof(struct inflate_state, crc_flag)', ISAL_INFLATE.crcFlag],
      ['ISAL_DEF_LVL3_DEFAULT', constant('src/device/engines/isal.ts', 'LEVEL_BUFFER_BYTES')],
      ['SYNC_FLUSH', constant('src/device/engines/isal.ts', 'SYNC_FLUSH')],
      ['ISAL_BLOCK_FINISH', constant('src/device/engines/isal.ts', 'BLOCK_FINISH')],
      ['IGZIP_DEFLATE', 0],
      ['IGZIP_GZIP', 1],
      ['IGZIP_ZLIB', 3],
      ['ISAL_DEFLATE', 0],
      ['ISAL_GZIP', 1],
      ['ISAL_ZLIB', 3],
    ],
  },
];

/** The C program of a suite: a line for each expression, with its value. */
function program(suite: Suite, checks: Check[]): string {
  return [
    '#define _GNU_SOURCE',
    '#include <stdio.h>',
    '#include <stddef.h>',
    ...suite.includes.map((header) => `#include <${header}>`),
    suite.declarations ?? '',
    'int main(void) {',
    ...checks.map(([expression]) => `  printf("%lld\\n", (long long)(${expression}));`),
    '  return 0;',
    '}',
  ].join('\n');
}

function compile(folder: string, source: string): { binary: string | undefined; output: string } {
  const binary = join(folder, 'program');
  writeFileSync(join(folder, 'program.c'), source);
  const result = spawnSync('cc', ['-o', binary, join(folder, 'program.c')], { encoding: 'utf8' });
  return { binary: result.status === 0 ? binary : undefined, output: result.stderr ?? '' };
}

describe('constants that mirror C headers', () => {
  for (const suite of SUITES) {
    test(suite.name, (t) => {
      const folder = mkdtempSync(join(tmpdir(), 'warpdrive-headers-'));
      try {
        const empty = compile(folder, 'int main(void) { return 0; }');
        if (!requirement(t, empty.binary !== undefined, 'a C compiler (cc)')) return;
        const headers = compile(folder, program({ ...suite, declarations: '' }, []));
        if (!requirement(t, headers.binary !== undefined, `the C header ${suite.includes.join(', ')}`))
          return;
        const checks = suite.checks();
        const { binary, output } = compile(folder, program(suite, checks));
        assert.ok(binary, output);
        const run = spawnSync(binary, { encoding: 'utf8' });
        assert.equal(run.status, 0);
        const values = run.stdout.trim().split('\n').map(Number);
        const actual = checks.map(([expression], index) => `${expression} = ${values[index]}`);
        assert.deepEqual(
          checks.map(([expression, value]) => `${expression} = ${value}`),
          actual,
        );
      } finally {
        rmSync(folder, { recursive: true });
      }
    });
  }
});
