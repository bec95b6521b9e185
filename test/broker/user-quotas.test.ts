import { describe, test } from 'node:test';
import { checkSessions } from './support-user-quotas.js';

describe('all clients of a user together', () => {
  test('have no more sessions than the user may; those of one that was killed come back', (t) =>
    checkSessions(t, []));
});
