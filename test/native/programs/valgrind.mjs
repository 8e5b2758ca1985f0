// A short life of every kind of thing the addon does, for scripts/valgrind.sh: plain JavaScript on the
// addon itself, since stripping types under valgrind takes longer than all the rest. `valgrind.mjs TCTI`
import { createRequire } from 'node:module';
import { createConnection, createServer } from 'node:net';
import { once } from 'node:events';

const require = createRequire(import.meta.url);
const addon = (name) => require(`../../../native/build/Release/${name}.node`);
const { EsysConnection } = addon('esys');
const peercred = addon('peercred');
const processControl = addon('process_control');
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
if (pidfd !== undefined) {
  if (!peercred.isAlive(pidfd)) throw new Error('not alive');
  peercred.close(pidfd);
}
if (!processControl.claimListeningSocket(server._handle.fd)) throw new Error('does not listen');
try {
  processControl.notify(`${directory}/none`, 'READY=1');
} catch (error) {
  if (error.code !== 'ENOENT') throw error;
}
client.destroy();
server.close();
console.log('done');
