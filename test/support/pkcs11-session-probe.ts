/**
 * Runs in a process of its own, with --expose-gc and SOFTHSM2_CONF: what SessionPool and Cryptoki do with real
 * sessions. Arguments: module, token label, PIN. Prints one JSON object.
 */
import { createHash, createPublicKey, verify } from 'node:crypto';
import { CKA, CKM } from '../../src/backend/pkcs11/constants.ts';
import { Cryptoki, CryptokiError, type Handle, type Template } from '../../src/backend/pkcs11/cryptoki.ts';
import { decodePublicKey, mechanismEntry } from '../../src/backend/pkcs11/mechanisms.ts';
import { SessionPool } from '../../src/backend/pkcs11/session-pool.ts';

const [module = '', label = '', pin = ''] = process.argv.slice(2);
const cryptoki = new Cryptoki();
cryptoki.load(module);
cryptoki.initialize();
const slot = cryptoki.slots().find((candidate) => cryptoki.tokenInfo(candidate).label === label);
if (slot === undefined) throw new Error('the token is not there');
const pool = new SessionPool(cryptoki, slot);
pool.use((session) => {
  cryptoki.login(session, Buffer.from(pin));
});

const tokenObject: Template = [{ type: CKA.token, value: true }];
const makePair = (algorithm: 'ES256' | 'Ed25519'): { publicKey: Handle; privateKey: Handle } =>
  pool.use((session) => {
    const [ecParams] = mechanismEntry(algorithm).ecParams;
    if (ecParams === undefined) throw new Error('no curve');
    return cryptoki.generateKeyPair(
      session,
      mechanismEntry(algorithm).generate,
      [...tokenObject, { type: CKA.ecParams, value: ecParams }],
      [...tokenObject, { type: CKA.sign, value: true }],
    );
  });
const output = Buffer.alloc(64);
const digest = createHash('sha256').update('message').digest();
const rvOf = (work: () => unknown): number => {
  try {
    work();
    return 0;
  } catch (thrown) {
    if (thrown instanceof CryptokiError) return thrown.rv;
    throw thrown;
  }
};

const keys = [makePair('ES256'), makePair('ES256')] as const;

// 1. Nested leases are different sessions, both can sign, and both come back.
const nested = pool.use((outer) =>
  pool.use((inner) => ({
    different: !outer.equals(inner),
    inner: cryptoki.sign(inner, { mechanism: CKM.ecdsa }, keys[0].privateKey, digest, output).length,
    outer: cryptoki.sign(outer, { mechanism: CKM.ecdsa }, keys[1].privateKey, digest, output).length,
  })),
);
const sizeAfterNested = pool.size;

// 2. An operation that is active on one session is in nobody's way on another, and is not handed on after a failure.
let dirty: Handle | undefined;
const failure = rvOf(() => {
  pool.use((session) => {
    dirty = session;
    cryptoki.findObjects(session, []);
    // Data that C_Sign refuses after C_SignInit took the key: some modules leave the operation active.
    cryptoki.sign(session, { mechanism: CKM.ecdsa }, Buffer.alloc(8), digest, output);
  });
});
const sizeAfterFailure = pool.size;
const afterFailure = pool.use((session) => ({
  anotherSession: dirty !== undefined && !session.equals(dirty),
  length: cryptoki.sign(session, { mechanism: CKM.ecdsa }, keys[0].privateKey, digest, output).length,
}));

// 3. Buffers live as long as the module reads them, whatever the collector does.
const edwards = makePair('Ed25519');
const jwk = decodePublicKey(
  'Ed25519',
  pool.use((session) => cryptoki.attributes(session, edwards.publicKey, [CKA.ecPoint])),
);
const publicKey = createPublicKey({ key: { ...jwk }, format: 'jwk' });
const { gc } = globalThis;
let verified = 0;
for (let round = 0; round < 15; round++) {
  const length = 1_000_000;
  const signature = pool.use((session) =>
    // The message has no other owner than the call.
    Buffer.from(
      cryptoki.sign(
        session,
        { mechanism: CKM.eddsa },
        edwards.privateKey,
        Buffer.alloc(length, round),
        output,
      ),
    ),
  );
  gc?.();
  if (verify(null, Buffer.alloc(length, round), publicKey, signature)) verified++;
}

process.stdout.write(
  JSON.stringify({
    nested,
    sizeAfterNested,
    failure,
    sizeAfterFailure,
    afterFailure,
    collected: gc !== undefined,
    verified,
  }),
);
