import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { Virtqueue, type VirtqueueShape, virtqueueParts } from '../../src/driver/virtio/virtqueue.js';
import { IOVA, RingDevice } from './support-virtqueue.js';

const SHAPES: VirtqueueShape[] = [true, false].flatMap((indirect) =>
  [true, false].map((eventIndex) => ({ size: 16, chain: 3, indirect, eventIndex })),
);

const nameOf = ({ indirect, eventIndex }: VirtqueueShape): string =>
  `${indirect ? 'tables' : 'chains'}, ${eventIndex ? 'event index' : 'flags'}`;

function make(shape: VirtqueueShape, startIndex = 0): { queue: Virtqueue; device: RingDevice } {
  const device = new RingDevice(shape, startIndex);
  return { device, queue: new Virtqueue(device.memory, IOVA, shape, startIndex) };
}

/** Pushes a request that reads 100 bytes and lets 50 be written. */
function push(queue: Virtqueue): number {
  const slot = queue.take();
  assert.ok(slot >= 0);
  queue.describe(slot, 0, 0x7f_0000_0000 + slot, 100, false);
  queue.describe(slot, 1, 0x8000_0000 + slot, 50, true);
  queue.push(slot, 2, 50);
  return slot;
}

for (const shape of SHAPES) {
  describe(`virtqueue: ${nameOf(shape)}`, () => {
    test('the device finds what was described, once it is published', () => {
      const { queue, device } = make(shape);
      const slot = push(queue);
      assert.equal(device.take(), undefined);
      assert.equal(queue.publish(), true);
      assert.deepEqual(device.take()?.buffers, [
        { address: 0x7f_0000_0000 + slot, length: 100, writable: false },
        { address: 0x8000_0000 + slot, length: 50, writable: true },
      ]);
      assert.equal(queue.publish(), false, 'with nothing new there is nothing to ring for');
    });

    test('slots come back in any order, and a full queue says so', () => {
      const { queue, device } = make(shape);
      assert.equal(queue.slots, shape.indirect ? 16 : 4);
      for (let i = 0; i < queue.slots; i++) push(queue);
      assert.equal(queue.take(), -1);
      queue.publish();
      const heads: number[] = [];
      for (let found = device.take(); found; found = device.take()) heads.push(found.head);
      assert.equal(queue.poll(), -1);
      for (const head of heads.reverse()) device.complete(head, 50);
      const back = new Set<number>();
      for (let slot = queue.poll(); slot >= 0; slot = queue.poll()) back.add(slot);
      assert.equal(back.size, queue.slots);
      assert.equal(queue.inFlight, 0);
      assert.equal(queue.failure, undefined);
    });

    test('a slot that was not pushed can be given back', () => {
      const { queue } = make(shape);
      queue.giveBack(queue.take());
      assert.equal(queue.inFlight, 0);
    });

    test('the device has what was published, until it completes it', () => {
      for (const startIndex of [0, 65_535]) {
        const { queue, device } = make(shape, startIndex);
        push(queue);
        push(queue);
        assert.equal(queue.outstanding, 0, 'nothing is published yet');
        queue.publish();
        assert.equal(queue.outstanding, 2);
        device.complete(device.take()!.head, 0);
        assert.equal(queue.outstanding, 1, 'though nobody has polled');
        assert.equal(queue.usedIndex, (startIndex + 1) & 0xffff);
        assert.equal(queue.inFlight, 2);
      }
    });

    test('what was not published can be taken back, and never reaches the device', () => {
      const { queue, device } = make(shape);
      push(queue);
      push(queue);
      queue.retract();
      assert.equal(queue.inFlight, 0);
      assert.equal(queue.publish(), false);
      const sent = Array.from({ length: queue.slots }, () => push(queue));
      assert.equal(new Set(sent).size, queue.slots, 'each slot is there once');
      queue.publish();
      for (const slot of sent) {
        assert.equal(device.take()!.buffers[0]!.address, 0x7f_0000_0000 + slot);
      }
      assert.equal(device.take(), undefined);
    });

    test('no doorbell is rung for a device that has not asked for one', () => {
      const { queue, device } = make(shape);
      if (shape.eventIndex) device.setAvailableEvent(5);
      else device.setNoNotify(true);
      push(queue);
      assert.equal(queue.publish(), false);
    });

    test('interrupts come only when armed', () => {
      const { queue, device } = make(shape);
      const complete = (): void => {
        push(queue);
        queue.publish();
        device.complete(device.take()!.head, 0);
      };
      complete();
      assert.equal(device.interrupts(), false);
      assert.equal(queue.arm(1), false, 'one is there already');
      assert.ok(queue.poll() >= 0);
      assert.equal(queue.arm(1), true);
      complete();
      assert.equal(device.interrupts(), true);
      assert.ok(queue.poll() >= 0);
      complete();
      assert.equal(device.interrupts(), false, 'and not again');
    });

    test('whoever sleeps is woken although somebody else polls', () => {
      const { queue, device } = make(shape);
      for (let i = 0; i < 3; i++) push(queue);
      queue.publish();
      assert.equal(queue.arm(shape.eventIndex ? 2 : 1), true);
      let interrupts = 0;
      for (let i = 0; i < 3; i++) {
        device.complete(device.take()!.head, 0);
        assert.ok(queue.poll() >= 0);
        if (device.interrupts()) interrupts++;
      }
      assert.ok(interrupts >= 1);
    });

    describe('a device that lies about', () => {
      const inFlight = (): { queue: Virtqueue; device: RingDevice; heads: number[] } => {
        const made = make(shape);
        push(made.queue);
        push(made.queue);
        made.queue.publish();
        return { ...made, heads: [made.device.take()!.head, made.device.take()!.head] };
      };
      const fails = (queue: Virtqueue, reason: RegExp): void => {
        assert.equal(queue.poll(), -1);
        assert.match(queue.failure ?? '', reason);
        assert.equal(queue.ready, false);
        assert.equal(queue.poll(), -1, 'and stays so');
      };

      for (const [what, id] of [
        ['a request never issued', 3 * (shape.indirect ? 1 : shape.chain)],
        ['one beyond the ring', 16],
        ['one far beyond', 0xffff_ffff],
        ['one of 32767', 0x7fff],
      ] as const) {
        test(what, () => {
          const { queue, device } = inFlight();
          device.complete(id, 0);
          fails(queue, new RegExp(`completed request ${id}, which it was not given`));
        });
      }

      // A table's descriptors have no numbers in the ring.
      if (!shape.indirect) {
        test('a descriptor in the middle of a chain', () => {
          const { queue, device, heads } = inFlight();
          device.complete(heads[0]! + 1, 0);
          fails(queue, /not given/);
        });
      }

      test('a request twice', () => {
        const { queue, device, heads } = inFlight();
        device.complete(heads[0]!, 0);
        device.complete(heads[0]!, 0);
        assert.ok(queue.poll() >= 0);
        fails(queue, /not given/);
      });

      test('more bytes than it may write', () => {
        const { queue, device, heads } = inFlight();
        device.complete(heads[0]!, 51);
        fails(queue, /written 51 bytes where 50 fit/);
      });

      test('an index that runs ahead, or back', () => {
        for (const index of [3, 17, 0x8000, 0xffff]) {
          const { queue, device } = inFlight();
          device.setUsedIndex(index);
          fails(queue, /more than it was given/);
        }
      });
    });

    test('any order of sending and completing, around the end of the indexes', () => {
      const step = fc.oneof(
        fc.record({ send: fc.integer({ min: 1, max: 16 }) }),
        fc.record({ complete: fc.integer({ min: 1, max: 16 }), order: fc.nat() }),
      );
      fc.assert(
        fc.property(
          fc.integer({ min: 65_500, max: 65_535 }),
          fc.array(step, { minLength: 20, maxLength: 60 }),
          (startIndex, steps) => {
            const { queue, device } = make(shape, startIndex);
            const held: { head: number; slot: number }[] = [];
            for (const each of steps) {
              if ('send' in each) {
                const sent: number[] = [];
                while (sent.length < each.send && queue.inFlight < queue.slots) sent.push(push(queue));
                const rung = queue.publish();
                assert.equal(rung, sent.length > 0, 'the device has taken all it had, and hears of more');
                for (const slot of sent) {
                  const found = device.take()!;
                  assert.equal(found.buffers[0]!.address, 0x7f_0000_0000 + slot);
                  held.push({ head: found.head, slot });
                }
              } else {
                const completed: number[] = [];
                while (completed.length < each.complete && held.length > 0) {
                  const [next] = held.splice(each.order % held.length, 1);
                  device.complete(next!.head, 50);
                  completed.push(next!.slot);
                }
                for (const slot of completed) assert.equal(queue.poll(), slot);
                assert.equal(queue.poll(), -1);
              }
              assert.equal(queue.inFlight, held.length);
              assert.equal(queue.failure, undefined);
            }
          },
        ),
      );
    });
  });
}

test('the parts of a queue are aligned, and no element of the used ring lies across two pages', () => {
  for (let size = 2; size <= 32_768; size *= 2) {
    for (const indirect of [true, false]) {
      const parts = virtqueueParts({ size, chain: 5, indirect, eventIndex: true });
      assert.equal(parts.available % 2, 0);
      assert.ok(parts.available >= 16 * size);
      assert.ok(parts.used >= parts.available + 6 + 2 * size);
      assert.equal((parts.used + 4) % 8, 0);
      assert.ok(parts.tables >= parts.used + 6 + 8 * size);
      assert.equal(parts.tables % 16, 0);
    }
  }
});

test('any garbage in the used ring is survived, and nothing is completed twice', () => {
  const word = fc.oneof(fc.nat({ max: 20 }), fc.nat({ max: 0xffff_ffff }));
  fc.assert(
    fc.property(
      fc.constantFrom(...SHAPES),
      fc.array(fc.record({ id: word, length: word }), { minLength: 1, maxLength: 16 }),
      fc.nat({ max: 0xffff }),
      (shape, elements, index) => {
        const { queue, device } = make(shape);
        const open = new Set<number>();
        for (let i = 0; i < queue.slots; i++) open.add(push(queue));
        queue.publish();
        for (const { id, length } of elements) device.writeUsed(id, length);
        device.setUsedIndex(index);
        for (let slot = queue.poll(); slot >= 0; slot = queue.poll()) {
          assert.ok(open.delete(slot), 'a slot comes back once');
          assert.ok(queue.usedBytes <= 50);
        }
        assert.equal(queue.inFlight, open.size);
      },
    ),
  );
});
