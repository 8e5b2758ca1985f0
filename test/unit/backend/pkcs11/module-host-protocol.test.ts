import { describe, expect, it } from 'vitest';
import {
  encodeFrame,
  FrameReader,
  MAX_BODY_OCTETS,
  OPERATION,
  type Frame,
} from '../../../../src/backend/pkcs11/module-host-protocol.ts';
import { codeOf } from '../../../support/code-of.ts';

interface Copied {
  readonly requestId: number;
  readonly kind: number;
  readonly body: string;
}

const copy = ({ requestId, kind, body }: Frame): Copied => ({ requestId, kind, body: body.toString('hex') });
const readAll = (reader: FrameReader, octets: Buffer): Copied[] => [...reader.push(octets)].map(copy);

const stream = Buffer.concat([
  encodeFrame(1, OPERATION.sign, Buffer.from('aa'), Buffer.from('bb')),
  encodeFrame(0xffff_ffff, OPERATION.probe),
  encodeFrame(7, OPERATION.login, Buffer.alloc(300, 7)),
]);
const frames: readonly Copied[] = [
  { requestId: 1, kind: OPERATION.sign, body: Buffer.from('aabb').toString('hex') },
  { requestId: 0xffff_ffff, kind: OPERATION.probe, body: '' },
  { requestId: 7, kind: OPERATION.login, body: '07'.repeat(300) },
];

describe('the frames between daemon and module host', () => {
  it('have length, request id, kind and body, big-endian', () => {
    expect(encodeFrame(0x01020304, OPERATION.sign, Buffer.from('xy')).toString('hex')).toBe(
      '0000000701020304047879',
    );
  });

  it('are the same however the stream is cut', () => {
    for (let cut = 0; cut <= stream.length; cut++) {
      const reader = new FrameReader();
      const read = [...readAll(reader, stream.subarray(0, cut)), ...readAll(reader, stream.subarray(cut))];
      expect(read).toEqual(frames);
      expect(reader.pendingOctets).toBe(0);
    }
    const reader = new FrameReader();
    expect([...stream].flatMap((octet) => readAll(reader, Buffer.of(octet)))).toEqual(frames);
  });

  it('are read only when they are whole: truncated at every offset', () => {
    const [first] = frames;
    const firstLength = 4 + 5 + 4;
    for (let length = 0; length < firstLength; length++) {
      const reader = new FrameReader();
      expect(readAll(reader, stream.subarray(0, length))).toEqual([]);
      expect(reader.pendingOctets).toBe(length);
    }
    expect(readAll(new FrameReader(), stream.subarray(0, firstLength))).toEqual([first]);
  });

  it('keep what is left of a chunk that its owner overwrites', () => {
    const chunk = Buffer.from(stream.subarray(0, 9));
    const reader = new FrameReader();
    readAll(reader, chunk);
    chunk.fill(0xff);
    expect(readAll(reader, stream.subarray(9))).toEqual(frames);
  });

  it('have a length within bounds', () => {
    for (const length of [0, 4, 5 + MAX_BODY_OCTETS + 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff]) {
      const octets = Buffer.alloc(16);
      octets.writeUInt32BE(length);
      expect(codeOf(() => readAll(new FrameReader(), octets))).toBe('malformed_structure');
    }
    expect(codeOf(() => encodeFrame(1, OPERATION.sign, Buffer.alloc(MAX_BODY_OCTETS + 1)))).toBe(
      'body_too_large',
    );
    const longest = encodeFrame(1, OPERATION.sign, Buffer.alloc(MAX_BODY_OCTETS));
    expect([...new FrameReader().push(longest)]).toHaveLength(1);
  });
});
