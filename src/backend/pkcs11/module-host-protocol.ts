/**
 * What daemon and module host say to each other on the inherited socketpair. A frame is
 *   uint32 length of what follows ‖ uint32 request id ‖ uint8 kind ‖ body        (big-endian)
 * with kind an operation on the way in, an outcome on the way back. Signing is binary, the rest is JSON.
 */
import { KeydError } from '../../wire/problem.ts';

/** Where a module host finds the socketpair: the first descriptor after standard input, output and error. */
export const DAEMON_DESCRIPTOR = 3;

export const OPERATION = {
  /** JSON ConnectRequest -> JSON TokenReport. Loads the module the first time, finds the token. */
  connect: 1,
  /** PIN octets, or nothing for the PIN given before -> nothing. */
  login: 2,
  /** JSON GenerateCommand -> JSON GeneratedKey. */
  generate: 3,
  /** Key id (16) ‖ algorithm (uint8) ‖ what the mechanism signs -> signature as the module gave it. */
  sign: 4,
  /** JSON ListRequest -> JSON ListPage. */
  list: 5,
  /** Key id (16) -> JSON FindAnswer. */
  find: 6,
  /** Key id (16) -> JSON ProtectionAnswer. */
  protection: 7,
  /** Key id (16) -> nothing. */
  destroy: 8,
  /** Nothing -> nothing; fails as any call would if the token is gone or nobody is logged in. */
  probe: 9,
} as const;
export type Operation = (typeof OPERATION)[keyof typeof OPERATION];

export const OUTCOME = {
  ok: 0,
  /** uint32 CK_RV ‖ C function name: a PKCS#11 function failed. */
  returnValue: 1,
  /** Error code ‖ NUL ‖ message: the module host refused. */
  refused: 2,
} as const;
export type Outcome = (typeof OUTCOME)[keyof typeof OUTCOME];

/** Octets of one signing input or answer, at most. */
export const MAX_BODY_OCTETS = 1024 * 1024 + 64;

export const KEY_ID_AND_ALGORITHM_OCTETS = 17;

const LENGTH_OCTETS = 4;
const HEADER_OCTETS = 5;
const PREFIX_OCTETS = LENGTH_OCTETS + HEADER_OCTETS;

export interface Frame {
  readonly requestId: number;
  readonly kind: number;
  /** A view that is good until the next `push`. */
  readonly body: Buffer;
}

/** Encodes one frame; `parts` are joined into its body. */
export function encodeFrame(
  requestId: number,
  kind: Operation | Outcome,
  ...parts: readonly Uint8Array[]
): Buffer {
  const bodyOctets = parts.reduce((sum, part) => sum + part.length, 0);
  if (bodyOctets > MAX_BODY_OCTETS) {
    throw new KeydError(
      'body_too_large',
      `A PKCS#11 token is given at most ${MAX_BODY_OCTETS} octets at once`,
    );
  }
  const frame = Buffer.allocUnsafe(PREFIX_OCTETS + bodyOctets);
  frame.writeUInt32BE(HEADER_OCTETS + bodyOctets, 0);
  frame.writeUInt32BE(requestId, LENGTH_OCTETS);
  frame.writeUInt8(kind, LENGTH_OCTETS + 4);
  let offset = PREFIX_OCTETS;
  for (const part of parts) {
    frame.set(part, offset);
    offset += part.length;
  }
  return frame;
}

/** Cuts a stream of octets into frames. A length out of bounds is an error, after which the stream is useless. */
export class FrameReader {
  #buffer: Buffer = Buffer.alloc(0);

  /** Octets of an unfinished frame. */
  get pendingOctets(): number {
    return this.#buffer.length;
  }

  /**
   * Takes octets as they came and yields every whole frame. `chunk` may be reused by its owner only after the
   * iteration. @throws KeydError `malformed_structure`
   */
  *push(chunk: Buffer): Generator<Frame, void, undefined> {
    let rest = this.#buffer.length === 0 ? chunk : Buffer.concat([this.#buffer, chunk]);
    while (rest.length >= LENGTH_OCTETS) {
      const length = rest.readUInt32BE(0);
      if (length < HEADER_OCTETS || length > HEADER_OCTETS + MAX_BODY_OCTETS) {
        throw new KeydError('malformed_structure', `A module host frame claims ${length} octets`);
      }
      const end = LENGTH_OCTETS + length;
      if (rest.length < end) break;
      yield {
        requestId: rest.readUInt32BE(LENGTH_OCTETS),
        kind: rest.readUInt8(LENGTH_OCTETS + 4),
        body: rest.subarray(PREFIX_OCTETS, end),
      };
      rest = rest.subarray(end);
    }
    // A copy: the owner of the chunk will write over it.
    this.#buffer = Buffer.from(rest);
  }
}
