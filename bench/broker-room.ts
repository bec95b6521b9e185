import { availableParallelism } from 'node:os';
import { clientsWithinDescriptors } from '../src/broker/descriptors.js';
import { USER_DEFAULTS } from '../src/broker/quotas.js';

/** How many clients of one user a broker takes, by its defaults and by the limit on open files. */
export function brokerHolds(): number {
  return clientsWithinDescriptors(USER_DEFAULTS.clients, availableParallelism(), false);
}
