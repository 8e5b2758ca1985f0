/** A port that nobody listens on at the moment. */
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';

/** @param host a name or address of loopback, as whoever listens there next will say it */
export async function freePort(host = 'localhost'): Promise<number> {
  const probe = createServer().listen(0, host);
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}
