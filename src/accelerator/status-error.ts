import { STATUS, statusName } from '../abi/queue.js';
import type { Operation } from '../algorithms/operation.js';
import type { Recipe } from '../algorithms/recipe.js';
import { engineName } from '../device/engines/engine.js';
import {
  ArgumentError,
  AuthenticationError,
  CorruptDataError,
  DeviceError,
  MemoryError,
  OutputLimitError,
  TruncatedDataError,
  UnsupportedError,
} from '../errors.js';

/** Why something is not decrypted: the same, whatever the cause. */
export function notAuthentic(): AuthenticationError {
  return new AuthenticationError('the data could not be decrypted', {
    hint: 'the key, the iv, the aad or the tag is another one, or the data was altered',
  });
}

/** The error that a status stands for. Whatever made a decryption fail, the error is the same. */
export function statusError(operation: Operation, device: string, recipe: Recipe | undefined): Error {
  const engine = engineName(operation.engine);
  const context = { device, ...(engine ? { engine } : {}) };
  switch (operation.status) {
    case STATUS.notAuthentic:
      return notAuthentic();
    case STATUS.badKey:
      return new ArgumentError(`the key is none for ${recipe?.algorithmName ?? 'this algorithm'}`, context);
    case STATUS.corrupt:
      return new CorruptDataError('the data is damaged', context);
    case STATUS.truncated:
      return new TruncatedDataError('the data ends too early', context);
    case STATUS.badLength:
      return new ArgumentError('the input has a length that this algorithm does not take', context);
    case STATUS.badAddress:
      return new ArgumentError('source and target overlap', {
        hint: 'they may be the same, or lie apart',
        ...context,
      });
    case STATUS.noSpace:
      return new OutputLimitError('the result is larger than the room there is for it', context);
    case STATUS.unsupported:
      return new UnsupportedError(`${device} has no engine for this request`, context);
    case STATUS.noResources:
      return new MemoryError(`${device} has no memory or session left for this request`, context);
    default:
      return new DeviceError(
        `${device} refused or failed a request: ${statusName(operation.status)}`,
        operation.status,
        context,
      );
  }
}
