import { TLSSocket } from 'node:tls';
import type { IncomingMessage } from 'node:http';
import { CHANNEL_EXPORTER_LABEL } from '../../wire/attested-data.ts';
import { KeydError } from '../../wire/problem.ts';
import type { ChannelBinding } from '../../wire/issuance/challenge.ts';

const EXPORTER_OCTETS = 32;

/**
 * The TLS exporter of the connection that carries this request (RFC 9266), or undefined where configuration
 * says that TLS ends at a balancer; never undefined because a connection happens to have none.
 * @throws KeydError `internal` where the connection is not TLS 1.3
 */
export function channelOf(request: IncomingMessage, configured: ChannelBinding): Uint8Array | undefined {
  if (configured === 'proxied') return undefined;
  const { socket } = request;
  if (!(socket instanceof TLSSocket) || socket.getProtocol() !== 'TLSv1.3') {
    throw new KeydError('internal', 'the connection has no TLS 1.3 exporter');
  }
  return socket.exportKeyingMaterial(EXPORTER_OCTETS, CHANNEL_EXPORTER_LABEL, Buffer.alloc(0));
}
