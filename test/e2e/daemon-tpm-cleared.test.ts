/** A TPM that is cleared under a running daemon: named, nothing lost silently, mended by an operator's word. */
import { expect, test } from 'vitest';
import { startDaemon } from '../support/daemon.ts';
import { requestOverSocket } from '../support/http-over-socket.ts';
import { startSwtpm } from '../support/swtpm.ts';
import { tpm2Tools } from '../support/tpm2-tools.ts';

test('tpm_cleared until the TPM is adopted over the admin socket; then new agents work', async () => {
  const tpm = await startSwtpm({ withEkCertificates: true });
  const daemon = await startDaemon({ tpm });
  try {
    const made = await daemon.request('POST', '/v1/agents', { name: 'before', backend: 'tpm' });
    expect(made.status).toBe(201);
    await tpm2Tools(tpm, [['tpm2_clear', '-c', 'p']]);

    const sign = (name: string) =>
      daemon.request('POST', `/v1/agents/${name}/sign/dpop`, { htm: 'GET', htu: 'https://a.example/' });
    expect((await sign('before')).json).toMatchObject({ code: 'tpm_cleared', status: 503 });
    // The record is still there: hardware that lost a key is no reason to forget it had one.
    expect((await daemon.request('GET', '/v1/agents/before')).status).toBe(200);

    expect((await daemon.request('POST', '/v1/host/adopt-tpm', {})).status).toBe(404);
    const adopted = await requestOverSocket(daemon.adminSocketPath, 'POST', '/v1/host/adopt-tpm', {});
    expect(adopted.status).toBe(200);
    expect((await daemon.request('POST', '/v1/agents', { name: 'after', backend: 'tpm' })).status).toBe(201);
    expect((await sign('after')).status).toBe(200);
    expect((await sign('before')).status).toBe(503);
  } finally {
    await daemon.stop();
    await tpm.stop();
  }
});
