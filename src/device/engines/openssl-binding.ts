import { bindAll, loadedPath } from './native.js';

/*
 * OpenSSL 3's EVP interface, as Node's own binary exports it, or else the system's libcrypto. The exports are no
 * promise: whatever is missing, the engine is absent. Pointers travel as Numbers, 0 for NULL.
 */

const SONAME = 'libcrypto.so.3';

/** Values of <openssl/evp.h>, <openssl/rsa.h> and <openssl/crypto.h>. */
export const EVP_CTRL = { setIvLength: 0x9, getTag: 0x10, setTag: 0x11 } as const;
export const RSA_PADDING = { oaep: 4, pss: 6 } as const;
const OPENSSL_VERSION_STRING = 6;

const PROTOTYPES = {
  OpenSSL_version: 'const char *OpenSSL_version(int type)',
  OPENSSL_cleanse: 'void OPENSSL_cleanse(uint64_t ptr, uint64_t n)',
  CRYPTO_memcmp: 'int CRYPTO_memcmp(uint64_t a, uint64_t b, uint64_t n)',
  CRYPTO_memdup: 'uint64_t CRYPTO_memdup(uint64_t p, uint64_t n, uint64_t file, int line)',
  CRYPTO_free: 'void CRYPTO_free(uint64_t p, uint64_t file, int line)',
  ERR_clear_error: 'void ERR_clear_error()',

  EVP_MD_fetch: 'uint64_t EVP_MD_fetch(uint64_t lib, const char *name, uint64_t props)',
  EVP_MD_free: 'void EVP_MD_free(uint64_t md)',
  EVP_MD_CTX_new: 'uint64_t EVP_MD_CTX_new()',
  EVP_MD_CTX_free: 'void EVP_MD_CTX_free(uint64_t ctx)',
  EVP_MD_CTX_reset: 'int EVP_MD_CTX_reset(uint64_t ctx)',
  EVP_MD_CTX_copy_ex: 'int EVP_MD_CTX_copy_ex(uint64_t out, uint64_t in)',
  EVP_DigestInit_ex2: 'int EVP_DigestInit_ex2(uint64_t ctx, uint64_t md, uint64_t params)',
  EVP_DigestUpdate: 'int EVP_DigestUpdate(uint64_t ctx, uint64_t data, uint64_t n)',
  EVP_DigestFinal_ex: 'int EVP_DigestFinal_ex(uint64_t ctx, uint64_t out, uint64_t n)',

  EVP_MAC_fetch: 'uint64_t EVP_MAC_fetch(uint64_t lib, const char *name, uint64_t props)',
  EVP_MAC_free: 'void EVP_MAC_free(uint64_t mac)',
  EVP_MAC_CTX_new: 'uint64_t EVP_MAC_CTX_new(uint64_t mac)',
  EVP_MAC_CTX_free: 'void EVP_MAC_CTX_free(uint64_t ctx)',
  EVP_MAC_init: 'int EVP_MAC_init(uint64_t ctx, uint64_t key, uint64_t n, uint64_t params)',
  EVP_MAC_update: 'int EVP_MAC_update(uint64_t ctx, uint64_t data, uint64_t n)',
  EVP_MAC_final: 'int EVP_MAC_final(uint64_t ctx, uint64_t out, uint64_t written, uint64_t n)',

  EVP_CIPHER_fetch: 'uint64_t EVP_CIPHER_fetch(uint64_t lib, const char *name, uint64_t props)',
  EVP_CIPHER_free: 'void EVP_CIPHER_free(uint64_t cipher)',
  EVP_CIPHER_CTX_new: 'uint64_t EVP_CIPHER_CTX_new()',
  EVP_CIPHER_CTX_free: 'void EVP_CIPHER_CTX_free(uint64_t ctx)',
  EVP_CIPHER_CTX_set_app_data: 'void EVP_CIPHER_CTX_set_app_data(uint64_t ctx, uint64_t data)',
  EVP_CIPHER_CTX_get_app_data: 'uint64_t EVP_CIPHER_CTX_get_app_data(uint64_t ctx)',
  EVP_CIPHER_CTX_set_padding: 'int EVP_CIPHER_CTX_set_padding(uint64_t ctx, int pad)',
  EVP_CIPHER_CTX_ctrl: 'int EVP_CIPHER_CTX_ctrl(uint64_t ctx, int type, int arg, uint64_t ptr)',
  EVP_CipherInit_ex:
    'int EVP_CipherInit_ex(uint64_t ctx, uint64_t cipher, uint64_t impl, uint64_t key, uint64_t iv, int enc)',
  EVP_CipherUpdate: 'int EVP_CipherUpdate(uint64_t ctx, uint64_t out, uint64_t outl, uint64_t in, int inl)',
  EVP_CipherFinal_ex: 'int EVP_CipherFinal_ex(uint64_t ctx, uint64_t out, uint64_t outl)',

  PKCS5_PBKDF2_HMAC:
    'int PKCS5_PBKDF2_HMAC(uint64_t pass, int passlen, uint64_t salt, int saltlen, int iter, uint64_t md, int keylen, uint64_t out)',
  EVP_PBE_scrypt:
    'int EVP_PBE_scrypt(uint64_t pass, uint64_t passlen, uint64_t salt, uint64_t saltlen, uint64_t n, uint64_t r, uint64_t p, uint64_t maxmem, uint64_t key, uint64_t keylen)',

  d2i_PKCS8_PRIV_KEY_INFO: 'uint64_t d2i_PKCS8_PRIV_KEY_INFO(uint64_t a, uint64_t pp, int64_t n)',
  PKCS8_PRIV_KEY_INFO_free: 'void PKCS8_PRIV_KEY_INFO_free(uint64_t p8)',
  EVP_PKCS82PKEY: 'uint64_t EVP_PKCS82PKEY(uint64_t p8)',
  d2i_PUBKEY: 'uint64_t d2i_PUBKEY(uint64_t a, uint64_t pp, int64_t n)',
  EVP_PKEY_free: 'void EVP_PKEY_free(uint64_t pkey)',
  EVP_PKEY_is_a: 'int EVP_PKEY_is_a(uint64_t pkey, const char *name)',
  EVP_PKEY_get_bits: 'int EVP_PKEY_get_bits(uint64_t pkey)',
  EVP_PKEY_get_group_name:
    'int EVP_PKEY_get_group_name(uint64_t pkey, uint64_t name, uint64_t size, uint64_t written)',
  EVP_DigestSignInit_ex:
    'int EVP_DigestSignInit_ex(uint64_t ctx, uint64_t pctx, const char *md, uint64_t lib, uint64_t props, uint64_t pkey, uint64_t params)',
  EVP_DigestSign:
    'int EVP_DigestSign(uint64_t ctx, uint64_t sig, uint64_t siglen, uint64_t data, uint64_t n)',
  EVP_DigestVerifyInit_ex:
    'int EVP_DigestVerifyInit_ex(uint64_t ctx, uint64_t pctx, const char *md, uint64_t lib, uint64_t props, uint64_t pkey, uint64_t params)',
  EVP_DigestVerify:
    'int EVP_DigestVerify(uint64_t ctx, uint64_t sig, uint64_t siglen, uint64_t data, uint64_t n)',
  EVP_PKEY_CTX_new_from_pkey:
    'uint64_t EVP_PKEY_CTX_new_from_pkey(uint64_t lib, uint64_t pkey, uint64_t props)',
  EVP_PKEY_CTX_dup: 'uint64_t EVP_PKEY_CTX_dup(uint64_t ctx)',
  EVP_PKEY_CTX_free: 'void EVP_PKEY_CTX_free(uint64_t ctx)',
  EVP_PKEY_CTX_set_rsa_padding: 'int EVP_PKEY_CTX_set_rsa_padding(uint64_t ctx, int padding)',
  EVP_PKEY_CTX_set_rsa_pss_saltlen: 'int EVP_PKEY_CTX_set_rsa_pss_saltlen(uint64_t ctx, int n)',
  EVP_PKEY_CTX_set_rsa_oaep_md: 'int EVP_PKEY_CTX_set_rsa_oaep_md(uint64_t ctx, uint64_t md)',
  EVP_PKEY_CTX_set0_rsa_oaep_label:
    'int EVP_PKEY_CTX_set0_rsa_oaep_label(uint64_t ctx, uint64_t label, int n)',
  EVP_PKEY_encrypt_init: 'int EVP_PKEY_encrypt_init(uint64_t ctx)',
  EVP_PKEY_encrypt:
    'int EVP_PKEY_encrypt(uint64_t ctx, uint64_t out, uint64_t outl, uint64_t in, uint64_t n)',
  EVP_PKEY_decrypt_init: 'int EVP_PKEY_decrypt_init(uint64_t ctx)',
  EVP_PKEY_decrypt:
    'int EVP_PKEY_decrypt(uint64_t ctx, uint64_t out, uint64_t outl, uint64_t in, uint64_t n)',
  EVP_PKEY_derive_init: 'int EVP_PKEY_derive_init(uint64_t ctx)',
  EVP_PKEY_derive_set_peer: 'int EVP_PKEY_derive_set_peer(uint64_t ctx, uint64_t peer)',
  EVP_PKEY_derive: 'int EVP_PKEY_derive(uint64_t ctx, uint64_t out, uint64_t outl)',
} as const;

/** A function of the library: it takes Numbers, or a string where its prototype says `const char *`. */
type Native = (...given: (number | string | null)[]) => number;

export type OpensslFunctions = {
  [N in Exclude<keyof typeof PROTOTYPES, 'OpenSSL_version'>]: Native;
} & { OpenSSL_version(type: number): string };

export interface Openssl {
  f: OpensslFunctions;
  library: string;
  version: string;
}

/** Finds OpenSSL 3 in this process or on this machine, or undefined. */
export function bindOpenssl(): Openssl | undefined {
  for (const soname of [null, SONAME]) {
    const f = bindAll<OpensslFunctions>(soname, PROTOTYPES);
    if (!f) continue;
    const version = f.OpenSSL_version(OPENSSL_VERSION_STRING);
    if (!version.startsWith('3.')) continue;
    const library = soname === null ? "node's own" : (loadedPath(soname) ?? soname);
    return { f, library, version };
  }
  return undefined;
}
