import { readFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { TLSSocket } from 'node:tls';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { makeTls } from '../../../scripts/sandbox/tls.ts';
import type { IssuerChannel } from '../../../src/issuance/issuer-channel.ts';
import { IssuerChannels } from '../../../src/issuance/issuer-channels.ts';
import { CHANNEL_EXPORTER_LABEL } from '../../../src/wire/attested-data.ts';
import { makeTempDir, type TempDir } from '../../support/temp-dir.ts';

const EXPORTER_OCTETS = 32;

let dir: TempDir;
let server: Server;
let ca: string;
/** One for each connection: the exporter on the issuer's side. */
let connections: string[] = [];
/** What becomes of the requests to come: answered where nothing is said. */
let fates: ('answer' | 'end')[] = [];
let channels: IssuerChannels;

beforeAll(async () => {
  dir = await makeTempDir();
  const tls = await makeTls(dir.path);
  ca = await readFile(tls.caFile, 'utf8');
  server = createServer(
    { cert: await readFile(tls.certificateFile), key: await readFile(tls.keyFile), minVersion: 'TLSv1.3' },
    ({ socket }, response) => {
      if (fates.shift() === 'end') socket.destroy();
      else response.end('{}');
    },
  );
  server.on('secureConnection', (socket) => {
    connections.push(exporterOf(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, 'localhost', resolve));
});

afterAll(async () => {
  server.close();
  await dir.remove();
});

beforeEach(() => {
  connections = [];
  fates = [];
  const { port } = server.address() as AddressInfo;
  channels = new IssuerChannels({ url: `https://localhost:${port}`, ca, timeoutMs: 10_000 });
});

afterEach(() => {
  vi.useRealTimers();
  channels.close();
});

function exporterOf(socket: TLSSocket): string {
  return socket
    .exportKeyingMaterial(EXPORTER_OCTETS, CHANNEL_EXPORTER_LABEL, Buffer.alloc(0))
    .toString('hex');
}

/** Challenge, evidence: what evidence would be bound to. */
async function exchange(channel: IssuerChannel): Promise<string> {
  await channel.exchange('GET', '/challenge', {});
  const bound = Buffer.from(channel.exporter()).toString('hex');
  await channel.exchange('GET', '/evidence', {});
  return bound;
}

describe('connections to the issuer', () => {
  it('S9: carry one exchange after the other, each bound to the connection that carries it', async () => {
    const bound = [await channels.use(exchange), await channels.use(exchange), await channels.use(exchange)];
    expect(connections).toHaveLength(1);
    expect(new Set(bound)).toEqual(new Set(connections));
  });

  it('carry one exchange at a time', async () => {
    const bound = await Promise.all([channels.use(exchange), channels.use(exchange)]);
    expect(connections).toHaveLength(2);
    expect(new Set(bound)).toEqual(new Set(connections));
    await channels.use(exchange);
    expect(connections).toHaveLength(2);
  });

  it('are closed after an exchange that failed', async () => {
    const failing = channels.use(async (channel) => {
      await exchange(channel);
      throw new Error('the evidence was refused');
    });
    await expect(failing).rejects.toThrow('the evidence was refused');
    await channels.use(exchange);
    expect(connections).toHaveLength(2);
  });

  it('that the issuer ended while they were idle cost the exchange a new beginning, on a new one', async () => {
    await channels.use(exchange);
    fates = ['end'];
    const tried = vi.fn(exchange);
    const bound = await channels.use(tried);
    expect(tried).toHaveBeenCalledTimes(2);
    expect(connections).toHaveLength(2);
    expect(bound).toBe(connections[1]);
  });

  it('S9: that end after the challenge end the exchange', async () => {
    await channels.use(exchange);
    fates = ['answer', 'end'];
    const tried = vi.fn(exchange);
    await expect(channels.use(tried)).rejects.toMatchObject({ code: 'issuer_unavailable' });
    expect(tried).toHaveBeenCalledTimes(1);
  });

  it('that are new and give no answer are not tried again', async () => {
    fates = ['end'];
    const tried = vi.fn(exchange);
    await expect(channels.use(tried)).rejects.toMatchObject({ code: 'issuer_unavailable' });
    expect(tried).toHaveBeenCalledTimes(1);
  });

  it('are closed when they were idle for five seconds, or are a minute old', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
    await channels.use(exchange);
    vi.advanceTimersByTime(4_999);
    await channels.use(exchange);
    expect(connections).toHaveLength(1);
    vi.advanceTimersByTime(5_000);
    await channels.use(exchange);
    expect(connections).toHaveLength(2);
    for (let seconds = 0; seconds < 60; seconds += 4) {
      vi.advanceTimersByTime(4_000);
      await channels.use(exchange);
    }
    vi.advanceTimersByTime(4_000);
    await channels.use(exchange);
    expect(connections).toHaveLength(3);
  });
});
