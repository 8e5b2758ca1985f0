// A short life of every kind of thing the addon does, for scripts/valgrind.sh: plain JavaScript on the
// addon itself, since stripping types under valgrind takes longer than all the rest. `valgrind.mjs TCTI`
import { createRequire } from 'node:module';
import { createConnection, createServer } from 'node:net';
import { generateKeyPairSync, hash, sign } from 'node:crypto';
import { once } from 'node:events';

const require = createRequire(import.meta.url);
const addon = (name) => require(`../../../native/build/Release/${name}.node`);
const { EsysConnection } = addon('esys');
const peercred = addon('peercred');
const processControl = addon('process_control');
const { PublicKey, VerificationThread } = addon('verify');
const [tcti, directory] = process.argv.slice(2);
const hex = (text) => Buffer.from(text, 'hex');
const refused = (promise) =>
  promise.then(
    () => Promise.reject(new Error('was not refused')),
    () => undefined,
  );

const OWNER = 0x101;
const SHA256 = 0x000b;
const srkTemplate = hex(
  `0023000b00030472000000060080004300100003001000${'20'}${'00'.repeat(32)}0020${'00'.repeat(32)}`,
);
const keyTemplate = hex('0023000b00040472000000100018000b0003001000000000');
const digest = Buffer.alloc(32, 1);

const esys = new EsysConnection(tcti, 16);
await refused(esys.run('getRandom', { octets: 8 })); // not open yet
await esys.reopen();
const srk = (await esys.run('createPrimary', { parent: OWNER, inPublic: srkTemplate })).handle.id;
const userAuth = Buffer.from('auth');
const created = await esys.run('create', { parent: srk, inPublic: keyTemplate, userAuth });
const key = (
  await esys.run('load', { parent: srk, inPrivate: created.outPrivate, inPublic: created.outPublic })
).handle.id;
await esys.run('setAuth', { handle: key, auth: userAuth });
const { signature } = await esys.run('sign', { key, digest });
await esys.run('verifySignature', { key, digest, signature });
await esys.run('readPublic', { object: key });
const session = (
  await esys.run('startAuthSession', {
    type: 'hmac',
    tpmKey: srk,
    symmetric: 'aes-128-cfb',
    authHash: SHA256,
  })
).handle.id;
await esys.run('sign', { key, digest, sessions: [{ session, attributes: 0x21 }] });
await esys.run('sign', { key, digest, sessions: [{ session, attributes: 0x20 }] }); // ends the session
const pcrSelection = hex('00000001000b03810000');
await esys.run('pcrRead', { pcrSelection });
await esys.run('certify', { object: key, signer: key, qualifyingData: digest });
const { context } = await esys.run('contextSave', { handle: key });
esys.discard(key);
await esys.run('contextLoad', { context }); // left for close
const policySession = (
  await esys.run('startAuthSession', { type: 'policy', symmetric: 'none', authHash: SHA256 })
).handle.id;
await esys.run('policyPcr', { policySession, pcrs: pcrSelection });
await esys.run('policySecret', { auth: 0x10b, policySession });
await esys.run('policyGetDigest', { policySession });
await esys.run('getCapability', { capability: 1, property: 0x80000000, count: 8 });

// Faults: by the TPM, by ESYS, by the codec, by type, by the queue.
await refused(esys.run('sign', { key: srk, digest }));
await refused(esys.run('sign', { key, digest }));
await refused(esys.run('create', { parent: srk, inPublic: keyTemplate.subarray(1) }));
await refused(esys.run('sign', { key: 'x', digest }));
await refused(esys.run('noSuchCommand', {}));
const results = await Promise.allSettled(
  Array.from({ length: 40 }, () => esys.run('getRandom', { octets: 8 })),
);
if (results.every(({ status }) => status === 'fulfilled')) throw new Error('the queue has no bound');

await esys.reopen();
await esys.run('createPrimary', { parent: OWNER, inPublic: srkTemplate });
await esys.close();
await refused(esys.run('getRandom', { octets: 8 }));

const failing = new EsysConnection('swtpm:path=/nowhere', 1);
await refused(failing.reopen());
await failing.close();

const left = new EsysConnection(tcti, 16); // ended by the environment's exit
await left.reopen();
await left.run('createPrimary', { parent: OWNER, inPublic: srkTemplate });

const server = createServer().listen(`${directory}/peer`);
await once(server, 'listening');
const client = createConnection(`${directory}/peer`);
const [accepted] = await once(server, 'connection');
const { pidfd } = peercred.peerCredentials(accepted._handle.fd);
const watch = new peercred.WatchedProcess(pidfd, '/proc/self');
if (watch.changed() !== undefined || watch.cgroup === '') throw new Error('not alive');
if (watch.executable.ino === 0n) throw new Error('no executable');
watch.close();
if (watch.changed() !== 'process') throw new Error('not closed');
const unclosed = new peercred.WatchedProcess(undefined, '/proc/self'); // ended by the environment's exit
unclosed.changed();
try {
  new peercred.WatchedProcess(undefined, '/proc/0');
} catch (error) {
  if (error.code !== 'ENOENT') throw error;
}
if (!processControl.claimListeningSocket(server._handle.fd)) throw new Error('does not listen');
try {
  processControl.notify(`${directory}/none`, 'READY=1');
} catch (error) {
  if (error.code !== 'ENOENT') throw error;
}
client.destroy();
server.close();

const kinds = {
  ES256: ['ec', { namedCurve: 'P-256' }, 'sha256'],
  Ed25519: ['ed25519', {}, null],
  RS256: ['rsa', { modulusLength: 1024 }, 'sha256'],
};
const thread = new VerificationThread(64);
for (const [algorithm, [type, options, digestName]] of Object.entries(kinds)) {
  const { privateKey, publicKey } = generateKeyPairSync(type, options);
  const spki = publicKey.export({ type: 'spki', format: 'der' });
  const verifier = new PublicKey(algorithm, spki);
  const message = Buffer.from('message');
  const by = sign(digestName, message, { key: privateKey, dsaEncoding: 'ieee-p1363' });
  const signed = digestName === null ? message : hash(digestName, message, 'buffer');
  const questions = [by, by, by.subarray(1), Buffer.alloc(by.length), Buffer.alloc(by.length, 0xff)];
  const answers = questions.map((signature) => thread.verifies(verifier, signed, signature));
  verifier.release(); // answered all the same
  if ((await Promise.all(answers)).join() !== 'true,true,false,false,false') throw new Error(algorithm);
  const here = new PublicKey(algorithm, spki);
  if (!here.verifies(signed, by) || here.verifies(signed.subarray(1), by)) throw new Error(algorithm);
  await refused(thread.verifies(verifier, signed, by));
  await refused(thread.verifies({}, signed, by));
  for (const bad of [spki.subarray(1), spki.subarray(0, -1), Buffer.alloc(0)]) {
    try {
      new PublicKey(algorithm, bad);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
    }
  }
  const closing = Array.from({ length: 8 }, () => thread.verifies(here, signed, by));
  if (algorithm !== 'RS256') await Promise.all(closing);
  else {
    thread.end(); // with questions open
    for (const answer of closing) await refused(answer);
  }
}
const unfinished = new VerificationThread(4); // ended by the environment's exit
void unfinished;
console.log('done');
