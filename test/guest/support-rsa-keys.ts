import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';

/* Keys for tests: in the guest, making one takes seconds. */

export interface KeyPair {
  privateKey: KeyObject;
  publicKey: KeyObject;
}

function pairOf(lines: readonly string[]): KeyPair {
  const key = Buffer.from(lines.join(''), 'base64');
  const privateKey = createPrivateKey({ key, format: 'der', type: 'pkcs8' });
  return { privateKey, publicKey: createPublicKey(privateKey) };
}

export const RSA_2048 = pairOf([
  'MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC6IyTpIbNWvjsoyR0btEvPmpvNpH0CpnU5i6AfcS0YtGBxrU3m',
  '75bpnzS2nGBc4rTNYmSq99CTxYSC+BP7f7GsbOOHWhxI7e+0+xbf6C7NDkpibk6SeY3pUIF/Y7JR9UT8i0Ylj+TigPFJ/z3EYUyx',
  'LlBXabNlgNF7ognLOq690EFzjFHsPOJSyfevXzzGw2M1RPFiW/vYyi2kpEf5dLYDPDdwYnn2sO49dsIP0siwBmpwmF5ZU4k2YcYo',
  'gvtd9YfLaVb8E05SNRHQ6WhSXKQWbPO0v/ZFh4AfGqdxOVZkD+R68lSTEtJuW35ZXjS5/ukbcwdaNeqcHhY3jt4Wf8bdAgMBAAEC',
  'ggEACK9Alt8DaNHt3TCK+uKt4dUPHWhmC8Rb9lAhK65iYgNyd4NUPejiU+qhcT65EURjlqyXUVHIKcjerqSn/AVAczDOad+Gr9Fo',
  'LHvFnLNO0bLvvglzAYsJ17+xlxG9/Wxx6E2QO4rr7TSCbYcq6Nl4VFD6nyV3oQ4CWCAekFyf0AvNrl/l94MkgXsm4VYmH1wiuq/b',
  'Sl3rH958XtmlfDyISL5Tcjv13lpF/YhwIPe/WgabRbRfQaGedhayuBVb6lYaDLWdkmI3SaB16Y2/jBhu3b2WBVrX9R5xFCrPvHTX',
  '1vuG0bsj/nmkr5dI97XE79EIkwPhlAoTIslL4AvHEcv4uQKBgQD0OrSv/eNJWmCYaiC0+pa3bspXAlZrKeummdD0Fsn9HCRb2w4z',
  'hp4d7enHW1KqQdd3kaeA9pian4QR6Y4jmruJFa06jZCdejYPMfJV9abnyUDT5qX+2taySQd2YAZ2SME1W4gCObvRCExpCv30Kk6V',
  'a5BQjZX2eRO2ypuFcESVVQKBgQDDG7NU32rdFqnu5WFnat5HcyB1JF+by0M5gkDJYK/+uXSluWvK1p7kq9wf6AVFvFytezy4S/KJ',
  'T4A5Vv+6C8UbrCfhErTeG8TcvFaG5Rgcm9U4XIX7sJCYtKiEc9ZRNVXGcEXc62w3Jjk7cRnEZROxWLwsX0V/ple9L6dL4CRraQKB',
  'gDlDQnY5Kv9Z52gVChIk5w2fNmXsMGLz80KesfVpGnb0EDpRRCUknRIbZELP0LQGuARa7FE6gFFQsWCZyC/k6a+cm38tDgk+TEqH',
  'xXAOJtIVx9NnMuhsWwZ2RP+mSB2XtWVTTrJm4viB35iJcT28Zax3CeE5MT4W6V5kZs6Eoi/5AoGAVBQR2ddVo+TqYiqzKO/izgOM',
  'zy5XjTmwxI2fAakK7shYvjoDe6u1WXG+MHm6G+0qOxBKgFkqMYXzCcK1/SSpUl2D6fg3vSdWVJFM8GC1XU7COcGVc3sJNOVVYY7R',
  'orlLN3KWiLdjMPjl3PnGUt4D+H72yGBeAL5cPQjWHVqAF1ECgYEAuM/vLI7piPEVyidLzM4mfrrtx2JIQ4O7BXRnfKUCXpDwLm9M',
  'FOnqg7vS4HV4V07l8SYZfZFUxffmMIkrnNCBxSXk0P+Yf17IQkLMPZ3PH6aGhyuGppNUhoKAzEu3gxFDnDBlBM9REDsj25h8f78E',
  'WaVt8OXFLygVpOgjX83NDQc=',
]);

/** Its modulus has 257 bytes, the first of which is small: one signature of three begins with a zero. */
export const RSA_2050 = pairOf([
  'MIIEvgIBADANBgkqhkiG9w0BAQEFAASCBKgwggSkAgEAAoIBAQJ1G4gK6VE/iqCGpwzW57QxAF0OLmwAvHtuj1DEKJrWSZBHt3yS',
  'UK9M8Ki8u2g2/bbsjTr42vMzCZSPNr36xitYERx+b6Wo9RdnCln7KYOR80+3sU6jD06PiLNrvU1K6Dy8jc4v1yJbM7FYKskd2Ge2',
  'TcSnIYn7r3pcMCYakw8TFxPTm3OYo3ITrJwIBVhA7BtNzce11VWvVMaT//uY86XS2DwOjQeS+01Z/1o5w8Ml4OOq9i3HpsRwj+qd',
  'MFg5nBUpB/1nilu2NEGWo4iUCBXWo1CUvq5cGUyBZozIXRO86fGXXdXXQ7nTJFHdQG7L25OnzNceYy57VRE/IPRWWLxtAgMBAAEC',
  'ggEAK3pySy7CKr4N8hXBfBNvZKOTICkdKxUxAqcXpzbshzrLpJPjIXQ/aUszSOKQL/IWSQBJvxaCuwLtKCivCzx+6mCPCOihGQLh',
  '/IET+ZkY5WayGmPqp2JQxPgRo7SQOZ5rSYITae2tti07EyOB2sowq2zHK+B+2iIlNryCevuxja6nJWbLUgtBJstB6zMl58su7Atz',
  'TPmH4KCRmXV5ShXV293HwviWpYPHfiW+wqpj5D2FnRC6Y2+YCO+MGmvxRj3+XYqkzkg0U2KrZEw7pOFI7vy23ZdkeaHdCk+WWYQs',
  'KCGceCfkTY0IG3urbAJkOe3nxi/pSs3e+6D2e0JMPciFkQKBgQGVlfp1y9jbQKxzFVdTRXuyNMFyHhDz54eVUINnjsrTcvsSthpX',
  'pKY9kzsCD1mABBiUJoWxCpCMjOCOPEg5hMmKG2hPkfZXoQhuSVK80c37Ukba/SfUnfHdbgug5UDkMhMDKKTBVigRlS+Q9htn+qkv',
  'vncmitadu/Pv9LjWapLblwKBgQGNFW1naH3XmAumXB/TrkieC2yupSJiQuphwbFTewYVbLIThhjEFYiNJJiox0A3mpS8CoY41FYn',
  'bkv6EodzD+ZA2WrLP3pljBJY5j5V+4YdhB4ICcifWxLI5UY8PAs12v+q4oglJyCc1V4+sqqgr3cscNnTinpNcO6dBS5+h1l4mwKB',
  'gQD8JonXwivH46VSxunLc187o2DAucCAYmkAg1WuhC/E1a8SKvSlmE9h6K6+0RwrYmCFeo2TS6YiO1NAGmosmElT+0YWcgBc6lh7',
  'eEpf6W/N15EFhG3G2YsMxuWj2eNF+3umcxY6vH2csMsprFfNhSC59gfNhnN3DOrTO6nOY+N5cQKBgD8PsBhEF/gtRWxeJQ/RFedD',
  'mTcDMrq4NdDgmfDQEN9GK+G94iEB6nW/4h6rxh8OhaB3a2mLD0Oj2J0WZDx5we96l+M/aYjG/gLwTeYJ0/rMCJjuNNZZ+Fm/T7Ax',
  'OPaMmR3ibAy6cgt2N0ltxntOYnbEVVOrIlE6Jir5r7CYfjURAoGBAOyXHdUyI6HAStyKsIppWvOylK/RRcJCk+7+9fS0bDjPd5gZ',
  'Cf7Webm7ksfmy0gw8dQqXmqS9ZewQPx+voSFKoFUnwsYXNp8JJq463NsfyGbuVnSUB/yZM2YE5FJd9KwAVA8czEee8/YOarEJ7bg',
  'OoFwqLnFez1oBimOWq/k54Hu',
]);
