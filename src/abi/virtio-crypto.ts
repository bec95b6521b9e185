import { layout } from './layout.js';

/* The crypto device: virtio 1.2, chapter 5.9; <linux/virtio_crypto.h>. */

export const VIRTIO_CRYPTO_ID = 20;

/** The device configuration. */
export const CRYPTO_CONFIG = layout({
  status: 'u32',
  maxDataQueues: 'u32',
  services: 'u32',
  cipherLow: 'u32',
  cipherHigh: 'u32',
  hash: 'u32',
  macLow: 'u32',
  macHigh: 'u32',
  aead: 'u32',
  maxCipherKey: 'u32',
  maxMacKey: 'u32',
  akcipher: 'u32',
  maxSize: 'u64',
});

/** Bit of `status`: the accelerator is ready. */
export const CRYPTO_READY = 1;

/** Number of the service for public keys: of its bit in `services`, and above its opcodes. */
export const CRYPTO_SERVICE_AKCIPHER = 4;

/** Opcodes of the service for ciphers: of data queues, and of the control queue. */
export const CRYPTO_OPCODE = {
  encrypt: 0x000,
  decrypt: 0x001,
  createSession: 0x002,
  destroySession: 0x003,
} as const;

/** The same of the service for public keys. */
export const CRYPTO_AKCIPHER_OPCODE = {
  sign: 0x402,
  verify: 0x403,
  createSession: 0x404,
  destroySession: 0x405,
} as const;

export const CRYPTO_AKCIPHER = { rsa: 1 } as const;
export const CRYPTO_KEY_TYPE = { public: 1, private: 2 } as const;
export const CRYPTO_RSA_PADDING = { pkcs1: 1 } as const;
export const CRYPTO_RSA_HASH = { sha1: 5, sha256: 6, sha384: 7, sha512: 8, sha224: 9 } as const;

export const CRYPTO_CIPHER = { aesEcb: 2, aesCbc: 3, aesCtr: 4, aesXts: 13 } as const;
export const CRYPTO_DIRECTION = { encrypt: 1, decrypt: 2 } as const;
/** A request for a cipher alone, without a hash. */
export const CRYPTO_SYMMETRIC = { cipher: 1 } as const;

/** What a control request is answered with, and a data request in one byte. */
export const CRYPTO_STATUS = {
  ok: 0,
  error: 1,
  badMessage: 2,
  unsupported: 3,
  badSession: 4,
  noSpace: 5,
  /** A signature that is not the key's. */
  keyRejected: 6,
} as const;

/** A control request that creates a cipher's session; its key follows. */
export const CRYPTO_CREATE_SESSION = layout({
  opcode: 'u32',
  algorithm: 'u32',
  flag: 'u32',
  queue: 'u32',
  cipher: 'u32',
  keyLength: 'u32',
  direction: 'u32',
  padding: 'u32',
  reserved0: 'u64',
  reserved1: 'u64',
  reserved2: 'u64',
  reserved3: 'u64',
  kind: 'u32',
  padding1: 'u32',
});

/** One that creates a session for an RSA key, which follows (RFC 8017, A.1); as long as the other. */
export const CRYPTO_CREATE_RSA_SESSION = layout({
  opcode: 'u32',
  algorithm: 'u32',
  flag: 'u32',
  queue: 'u32',
  akcipher: 'u32',
  keyType: 'u32',
  keyLength: 'u32',
  padding: 'u32',
  hash: 'u32',
});

/** One that destroys a session; as long as the others. */
export const CRYPTO_DESTROY_SESSION = layout({
  opcode: 'u32',
  algorithm: 'u32',
  flag: 'u32',
  queue: 'u32',
  sessionLow: 'u32',
  sessionHigh: 'u32',
});

/** The answer to one that creates. One that destroys is answered with a single byte. */
export const CRYPTO_SESSION_ANSWER = layout({
  sessionLow: 'u32',
  sessionHigh: 'u32',
  status: 'u32',
  padding: 'u32',
});

/** A data request of a cipher; its IV and the source follow. */
export const CRYPTO_CIPHER_REQUEST = layout({
  opcode: 'u32',
  algorithm: 'u32',
  sessionLow: 'u32',
  sessionHigh: 'u32',
  flag: 'u32',
  padding: 'u32',
  ivLength: 'u32',
  sourceLength: 'u32',
  destinationLength: 'u32',
  padding1: 'u32',
  reserved0: 'u64',
  reserved1: 'u64',
  reserved2: 'u64',
  kind: 'u32',
  padding2: 'u32',
});

/** A data request with a public or private key; the source follows. As long as one of a cipher. */
export const CRYPTO_AKCIPHER_REQUEST = layout({
  opcode: 'u32',
  algorithm: 'u32',
  sessionLow: 'u32',
  sessionHigh: 'u32',
  flag: 'u32',
  padding: 'u32',
  sourceLength: 'u32',
  destinationLength: 'u32',
});
