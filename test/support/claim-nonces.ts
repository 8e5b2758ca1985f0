/** A process that claims the nonces 0 to N-1 of one key in a shared file and prints how many it got. */
import { SqliteNonceStore } from '../../src/verify/sqlite-nonce-store.ts';

const [path = '', count = '0', startAt = '0'] = process.argv.slice(2);
const store = new SqliteNonceStore({ path, busyTimeoutMs: 10_000 });
while (Date.now() < Number(startAt)) await new Promise((resolve) => setTimeout(resolve, 1));
let claimed = 0;
for (let nonce = 0; nonce < Number(count); nonce += 1) {
  if (await store.claim('thumbprint', String(nonce), Math.floor(Date.now() / 1000) + 600)) claimed += 1;
}
store.close();
process.stdout.write(String(claimed));
