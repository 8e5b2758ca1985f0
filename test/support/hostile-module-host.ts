/**
 * A module host that lies. It speaks the protocol over a software key; the configured module path says how it
 * lies: `/hostile/<lie>`. Started in place of src/backend/pkcs11/module-host.ts.
 */
import { generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import { readSync, writeSync } from 'node:fs';
import {
  DAEMON_DESCRIPTOR,
  encodeFrame,
  FrameReader,
  OPERATION,
  OUTCOME,
  type Frame,
} from '../../src/backend/pkcs11/module-host-protocol.ts';

interface Pair {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}

const newPair = (): Pair => generateKeyPairSync('ec', { namedCurve: 'P-256' });
const TRUE_ATTRIBUTES = { CKA_SENSITIVE: true, CKA_EXTRACTABLE: false, CKA_LOCAL: true };

/** CK_TOKEN_INFO.flags: CKF_USER_PIN_FINAL_TRY, CKF_USER_PIN_LOCKED. */
const FLAGS: Readonly<Record<string, number>> = { 'final-try': 0x20000, locked: 0x40000 };

let lie = 'none';
let pair = newPair();
let finds = 0;
const destroyed: string[] = [];

const json = (value: object): Buffer => Buffer.from(JSON.stringify(value));
const keyIdOf = (octets: Buffer): string =>
  octets.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
const keyOf = (keyId: string): object => {
  const { x, y } = pair.publicKey.export({ format: 'jwk' });
  return {
    keyId,
    purpose: 'agent',
    algorithm: 'ES256',
    publicJwk: { kty: 'EC', crv: 'P-256', x: lie === 'point-off-curve' ? y : x, y, alg: 'ES256' },
  };
};

function reply({ kind, body }: Frame): Buffer {
  switch (kind) {
    case OPERATION.connect: {
      const request = JSON.parse(body.toString()) as { readonly module: string };
      lie = request.module.replace('/hostile/', '');
      if (lie === 'garbage-report') return Buffer.from('{"label":"x","label":"y"}');
      return json({
        label: 'liar',
        manufacturer: 'Honest Hardware',
        model: 'm',
        serial: '1',
        firmware: '1.0',
        library: 'l 1.0',
        flags: 0x40d | (FLAGS[lie] ?? 0),
        algorithms: ['ES256'],
      });
    }
    case OPERATION.login:
      // Nobody may try a PIN on such a token.
      if (lie in FLAGS) process.exit(1);
      return Buffer.alloc(0);
    case OPERATION.generate: {
      const { keyId } = JSON.parse(body.toString()) as { readonly keyId: string };
      const attributes =
        lie === 'exportable' ? { ...TRUE_ATTRIBUTES, CKA_EXTRACTABLE: true } : TRUE_ATTRIBUTES;
      return json({
        key: keyOf(lie === 'another-id' ? '00000000-0000-4000-8000-000000000000' : keyId),
        attributes,
      });
    }
    case OPERATION.find:
      if (lie === 'swapped-key' && ++finds > 1) pair = newPair();
      if (lie === 'garbage-find') return Buffer.from('not json');
      return destroyed.includes(body.toString('hex')) ? json({}) : json({ key: keyOf(keyIdOf(body)) });
    case OPERATION.destroy:
      destroyed.push(body.toString('hex'));
      return Buffer.alloc(0);
    case OPERATION.sign: {
      const key = lie === 'other-key' ? newPair().privateKey : pair.privateKey;
      // The digest is signed as if it were a message: never a signature over the message itself.
      const signature = sign('sha256', body.subarray(17), { key, dsaEncoding: 'ieee-p1363' });
      if (lie === 'long-signature') return Buffer.concat([signature, Buffer.alloc(1)]);
      return lie === 'empty-signature' ? Buffer.alloc(0) : signature;
    }
    case OPERATION.list:
      return json({ keys: [], held: [], unreadable: 0, next: 0 });
    default:
      return Buffer.alloc(0);
  }
}

const reader = new FrameReader();
const input = Buffer.alloc(65536);
for (;;) {
  const length = readSync(DAEMON_DESCRIPTOR, input);
  if (length === 0) break;
  for (const frame of reader.push(input.subarray(0, length))) {
    writeSync(DAEMON_DESCRIPTOR, encodeFrame(frame.requestId, OUTCOME.ok, reply(frame)));
  }
}
