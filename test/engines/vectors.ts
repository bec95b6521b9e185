import type { AlgorithmName } from '../../src/abi/algorithms.js';

/*
 * Known answers, as published. Hexadecimal, but for texts.
 */

export interface DigestVector {
  from: string;
  algorithm: AlgorithmName;
  text: string;
  digest: string;
}

export const DIGESTS: readonly DigestVector[] = [
  { from: 'RFC 1321', algorithm: 'md5', text: 'abc', digest: '900150983cd24fb0d6963f7d28e17f72' },
  { from: 'FIPS 180-4', algorithm: 'sha1', text: 'abc', digest: 'a9993e364706816aba3e25717850c26c9cd0d89d' },
  {
    from: 'FIPS 180-4',
    algorithm: 'sha224',
    text: 'abc',
    digest: '23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7',
  },
  {
    from: 'FIPS 180-4',
    algorithm: 'sha256',
    text: 'abc',
    digest: 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
  },
  {
    from: 'FIPS 180-4',
    algorithm: 'sha256',
    text: '',
    digest: 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
  },
  {
    from: 'FIPS 180-4',
    algorithm: 'sha384',
    text: 'abc',
    digest:
      'cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7',
  },
  {
    from: 'FIPS 180-4',
    algorithm: 'sha512',
    text: 'abc',
    digest:
      'ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f',
  },
  {
    from: 'FIPS 180-4',
    algorithm: 'sha512-224',
    text: 'abc',
    digest: '4634270f707b6a54daae7530460842e20e37ed265ceee9a43e8924aa',
  },
  {
    from: 'FIPS 180-4',
    algorithm: 'sha512-256',
    text: 'abc',
    digest: '53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23',
  },
  {
    from: 'FIPS 202',
    algorithm: 'sha3-224',
    text: '',
    digest: '6b4e03423667dbb73b6e15454f0eb1abd4597f9a1b078e3f5b5a6bc7',
  },
  {
    from: 'FIPS 202',
    algorithm: 'sha3-256',
    text: '',
    digest: 'a7ffc6f8bf1ed76651c14756a061d662f580ff4de43b49fa82d80a4b80f8434a',
  },
  {
    from: 'FIPS 202',
    algorithm: 'sha3-256',
    text: 'abc',
    digest: '3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532',
  },
  {
    from: 'FIPS 202',
    algorithm: 'sha3-384',
    text: 'abc',
    digest:
      'ec01498288516fc926459f58e2c6ad8df9b473cb0fc08c2596da7cf0e49be4b298d88cea927ac7f539f1edf228376d25',
  },
  {
    from: 'FIPS 202',
    algorithm: 'sha3-512',
    text: 'abc',
    digest:
      'b751850b1a57168a5693cd924b6b096e08f621827444f70d884f5d0240d2712e10e116e9192af3c91a7ec57647e3934057340b4cf408d5a56592f8274eec53f0',
  },
  {
    from: 'RFC 7693',
    algorithm: 'blake2b512',
    text: 'abc',
    digest:
      'ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d17d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923',
  },
  {
    from: 'RFC 7693',
    algorithm: 'blake2s256',
    text: 'abc',
    digest: '508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982',
  },
  {
    from: 'GB/T 32905',
    algorithm: 'sm3',
    text: 'abc',
    digest: '66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0',
  },
];

export interface MacVector {
  from: string;
  algorithm: AlgorithmName;
  key: string;
  data: string;
  mac: string;
}

const AES_KEY = '2b7e151628aed2a6abf7158809cf4f3c';
const AES_KEY_256 = '603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4';
/** The plaintext of SP 800-38A, F. */
const AES_TEXT =
  '6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51' +
  '30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710';
const hex = (text: string): string => Buffer.from(text).toString('hex');

export const MACS: readonly MacVector[] = [
  {
    from: 'RFC 4231, 4.2',
    algorithm: 'sha256',
    key: '0b'.repeat(20),
    data: hex('Hi There'),
    mac: 'b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7',
  },
  {
    from: 'RFC 4231, 4.2',
    algorithm: 'sha224',
    key: '0b'.repeat(20),
    data: hex('Hi There'),
    mac: '896fb1128abbdf196832107cd49df33f47b4b1169912ba4f53684b22',
  },
  {
    from: 'RFC 4231, 4.3',
    algorithm: 'sha256',
    key: hex('Jefe'),
    data: hex('what do ya want for nothing?'),
    mac: '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843',
  },
  {
    from: 'RFC 4231, 4.3',
    algorithm: 'sha512',
    key: hex('Jefe'),
    data: hex('what do ya want for nothing?'),
    mac: '164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737',
  },
  {
    from: 'RFC 4231, 4.7',
    algorithm: 'sha256',
    key: 'aa'.repeat(131),
    data: hex('Test Using Larger Than Block-Size Key - Hash Key First'),
    mac: '60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54',
  },
  {
    from: 'RFC 4493',
    algorithm: 'aes-128-cmac',
    key: AES_KEY,
    data: '',
    mac: 'bb1d6929e95937287fa37d129b756746',
  },
  {
    from: 'RFC 4493',
    algorithm: 'aes-128-cmac',
    key: AES_KEY,
    data: AES_TEXT.slice(0, 32),
    mac: '070a16b46b4d4144f79bdd9dd04a287c',
  },
  {
    from: 'RFC 4493',
    algorithm: 'aes-128-cmac',
    key: AES_KEY,
    data: AES_TEXT.slice(0, 80),
    mac: 'dfa66747de9ae63030ca32611497c827',
  },
  {
    from: 'RFC 4493',
    algorithm: 'aes-128-cmac',
    key: AES_KEY,
    data: AES_TEXT,
    mac: '51f0bebf7e3b9d92fc49741779363cfe',
  },
];

export interface CipherVector {
  from: string;
  algorithm: AlgorithmName;
  key: string;
  iv: string;
  aad?: string;
  text: string;
  /** With the tag behind it. */
  sealed: string;
  tagBytes?: number;
}

const COUNTER = 'f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff';
const PLAIN_IV = '000102030405060708090a0b0c0d0e0f';
const BLOCK = AES_TEXT.slice(0, 32);
const SM4_KEY = '0123456789abcdeffedcba9876543210';

/** What both modes are tried with: eight runs of one digit. */
const RFC_8998 = {
  key: SM4_KEY,
  iv: '00001234567800000000abcd',
  aad: 'feedfacedeadbeeffeedfacedeadbeefabaddad2',
  text: [...'abcdefea'].map((digit) => digit.repeat(16)).join(''),
};

export const CIPHERS: readonly CipherVector[] = [
  {
    from: 'SP 800-38A, F.1.1',
    algorithm: 'aes-128-ecb',
    key: AES_KEY,
    iv: '',
    text: AES_TEXT,
    sealed:
      '3ad77bb40d7a3660a89ecaf32466ef97f5d3d58503b9699de785895a96fdbaaf43b1cd7f598ece23881b00e3ed0306887b0c785e27e8ad3f8223207104725dd4',
  },
  {
    from: 'SP 800-38A, F.2.1',
    algorithm: 'aes-128-cbc',
    key: AES_KEY,
    iv: PLAIN_IV,
    text: AES_TEXT,
    sealed:
      '7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b273bed6b8e3c1743b7116e69e222295163ff1caa1681fac09120eca307586e1a7',
  },
  {
    from: 'SP 800-38A, F.2.5',
    algorithm: 'aes-256-cbc',
    key: AES_KEY_256,
    iv: PLAIN_IV,
    text: BLOCK,
    sealed: 'f58c4c04d6e5f1ba779eabfb5f7bfbd6',
  },
  {
    from: 'SP 800-38A, F.3.13',
    algorithm: 'aes-128-cfb',
    key: AES_KEY,
    iv: PLAIN_IV,
    text: BLOCK,
    sealed: '3b3fd92eb72dad20333449f8e83cfb4a',
  },
  {
    from: 'SP 800-38A, F.4.1',
    algorithm: 'aes-128-ofb',
    key: AES_KEY,
    iv: PLAIN_IV,
    text: BLOCK,
    sealed: '3b3fd92eb72dad20333449f8e83cfb4a',
  },
  {
    from: 'SP 800-38A, F.5.1',
    algorithm: 'aes-128-ctr',
    key: AES_KEY,
    iv: COUNTER,
    text: AES_TEXT,
    sealed:
      '874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff5ae4df3edbd5d35e5b4f09020db03eab1e031dda2fbe03d1792170a0f3009cee',
  },
  {
    from: 'SP 800-38A, F.5.5',
    algorithm: 'aes-256-ctr',
    key: AES_KEY_256,
    iv: COUNTER,
    text: BLOCK,
    sealed: '601ec313775789a5b7a7f504bbf3d228',
  },
  {
    from: 'IEEE 1619, B, 2',
    algorithm: 'aes-128-xts',
    key: '11'.repeat(16) + '22'.repeat(16),
    iv: `${'33'.repeat(5)}${'00'.repeat(11)}`,
    text: '44'.repeat(32),
    sealed: 'c454185e6a16936e39334038acef838bfb186fff7480adc4289382ecd6d394f0',
  },
  {
    from: 'GCM specification, 1',
    algorithm: 'aes-128-gcm',
    key: '00'.repeat(16),
    iv: '00'.repeat(12),
    text: '',
    sealed: '58e2fccefa7e3061367f1d57a4e7455a',
  },
  {
    from: 'GCM specification, 2',
    algorithm: 'aes-128-gcm',
    key: '00'.repeat(16),
    iv: '00'.repeat(12),
    text: '00'.repeat(16),
    sealed: '0388dace60b6a392f328c2b971b2fe78ab6e47d42cec13bdf53a67b21257bddf',
  },
  {
    from: 'GCM specification, 4',
    algorithm: 'aes-128-gcm',
    key: 'feffe9928665731c6d6a8f9467308308',
    iv: 'cafebabefacedbaddecaf888',
    aad: 'feedfacedeadbeeffeedfacedeadbeefabaddad2',
    text: 'd9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39',
    sealed:
      '42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e0915bc94fbc3221a5db94fae95ae7121a47',
  },
  {
    from: 'GCM specification, 5',
    algorithm: 'aes-128-gcm',
    key: 'feffe9928665731c6d6a8f9467308308',
    iv: 'cafebabefacedbad',
    aad: 'feedfacedeadbeeffeedfacedeadbeefabaddad2',
    text: 'd9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39',
    sealed:
      '61353b4c2806934a777ff51fa22a4755699b2a714fcdc6f83766e5f97b6c742373806900e49f24b22b097544d4896b424989b5e1ebac0f07c23f45983612d2e79e3b0785561be14aaca2fccb',
  },
  {
    from: 'RFC 3610, vector 1',
    algorithm: 'aes-128-ccm',
    key: 'c0c1c2c3c4c5c6c7c8c9cacbcccdcecf',
    iv: '00000003020100a0a1a2a3a4a5',
    aad: '0001020304050607',
    text: '08090a0b0c0d0e0f101112131415161718191a1b1c1d1e',
    sealed: '588c979a61c663d2f066d0c2c0f989806d5f6b61dac38417e8d12cfdf926e0',
    tagBytes: 8,
  },
  {
    from: 'RFC 8439, 2.8.2',
    algorithm: 'chacha20-poly1305',
    key: '808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f',
    iv: '070000004041424344454647',
    aad: '50515253c0c1c2c3c4c5c6c7',
    text: hex(
      "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.",
    ),
    sealed:
      'd31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691',
  },
  {
    from: 'RFC 8439, 2.4.2',
    algorithm: 'chacha20',
    key: '000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f',
    iv: '01000000000000000000004a00000000',
    text: hex('Ladies and Gentlemen'),
    sealed: '6e2e359a2568f98041ba0728dd0d6981e97e7aec',
  },
  {
    from: 'GB/T 32907',
    algorithm: 'sm4-ecb',
    key: SM4_KEY,
    iv: '',
    text: SM4_KEY,
    sealed: '681edf34d206965e86b3e94f536e4246',
  },
  {
    from: 'RFC 8998, A.1',
    algorithm: 'sm4-gcm',
    ...RFC_8998,
    sealed:
      '17f399f08c67d5ee19d0dc9969c4bb7d5fd46fd3756489069157b282bb200735d82710ca5c22f0ccfa7cbf93d496ac15a56834cbcf98c397b4024a2691233b8d83de3541e4c2b58177e065a9bf7b62ec',
  },
  {
    from: 'RFC 8998, A.2',
    algorithm: 'sm4-ccm',
    ...RFC_8998,
    sealed:
      '48af93501fa62adbcd414cce6034d895dda1bf8f132f042098661572e7483094fd12e518ce062c98acee28d95df4416bed31a2f04476c18bb40c84a74b97dc5b16842d4fa186f56ab33256971fa110f4',
  },
];

export interface DeriveVector {
  from: string;
  algorithm: 'hkdf' | 'pbkdf2' | 'scrypt';
  digest?: AlgorithmName;
  secret: string;
  salt: string;
  info?: string;
  params: readonly number[];
  output: string;
}

export const DERIVATIONS: readonly DeriveVector[] = [
  {
    from: 'RFC 5869, A.1',
    algorithm: 'hkdf',
    digest: 'sha256',
    secret: '0b'.repeat(22),
    salt: '000102030405060708090a0b0c',
    info: 'f0f1f2f3f4f5f6f7f8f9',
    params: [13],
    output: '3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865',
  },
  {
    from: 'RFC 5869, A.3',
    algorithm: 'hkdf',
    digest: 'sha256',
    secret: '0b'.repeat(22),
    salt: '',
    info: '',
    params: [0],
    output: '8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8',
  },
  {
    from: 'RFC 6070',
    algorithm: 'pbkdf2',
    digest: 'sha1',
    secret: hex('password'),
    salt: hex('salt'),
    params: [0, 1],
    output: '0c60c80f961f0e71f3a9b524af6012062fe037a6',
  },
  {
    from: 'RFC 6070',
    algorithm: 'pbkdf2',
    digest: 'sha1',
    secret: hex('password'),
    salt: hex('salt'),
    params: [0, 4096],
    output: '4b007901b765489abead49d926f721d065a429c1',
  },
  {
    from: 'RFC 7914, 11',
    algorithm: 'pbkdf2',
    digest: 'sha256',
    secret: hex('passwd'),
    salt: hex('salt'),
    params: [0, 1],
    output:
      '55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783',
  },
  {
    from: 'RFC 7914, 12',
    algorithm: 'scrypt',
    secret: '',
    salt: '',
    params: [16, 1, 1],
    output:
      '77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442fcd0069ded0948f8326a753a0fc81f17e8d3e0fb2e0d3628cf35e20c38d18906',
  },
  {
    from: 'RFC 7914, 12',
    algorithm: 'scrypt',
    secret: hex('password'),
    salt: hex('NaCl'),
    params: [1024, 8, 16],
    output:
      'fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b3731622eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640',
  },
];

/** RFC 8032, 7.1, TEST 2; and RFC 7748, 6.1. */
export const ED25519 = {
  seed: '4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb',
  publicKey: '3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c',
  message: '72',
  signature:
    '92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00',
} as const;
export const X25519 = {
  privateKey: '5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb',
  peer: '8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a',
  shared: '4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742',
} as const;

/** DER of such keys, but for their 32 bytes (RFC 8410). */
export const DER = {
  ed25519: { private: '302e020100300506032b657004220420', public: '302a300506032b6570032100' },
  x25519: { private: '302e020100300506032b656e04220420', public: '302a300506032b656e032100' },
} as const;
