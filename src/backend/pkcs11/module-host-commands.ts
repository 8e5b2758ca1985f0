/** Turns one request frame into one reply frame. Runs in the module host; never throws for what a token does. */
import { asKeydError, KeydError } from '../../wire/problem.ts';
import { CryptokiError } from './cryptoki.ts';
import { KEY_ID_OCTETS } from './key-label.ts';
import {
  algorithmFromOctet,
  connectRequest,
  decodeMessage,
  encodeMessage,
  encodeRefusal,
  encodeReturnValue,
  generateCommand,
  listRequest,
} from './module-host-messages.ts';
import {
  encodeFrame,
  KEY_ID_AND_ALGORITHM_OCTETS,
  OPERATION,
  OUTCOME,
  type Frame,
} from './module-host-protocol.ts';
import { TokenConnection } from './token-connection.ts';
import { TokenKeys } from './token-keys.ts';
import { TokenListing } from './token-listing.ts';

const NOTHING = Buffer.alloc(0);

export class ModuleHostCommands {
  readonly #connection = new TokenConnection();
  readonly #keys = new TokenKeys(this.#connection);
  readonly #listing = new TokenListing(this.#connection, this.#keys);

  /** Answers a request; a request that is not one of ours is refused as `malformed_structure`. */
  answer(frame: Frame): Buffer {
    try {
      return encodeFrame(frame.requestId, OUTCOME.ok, this.#perform(frame));
    } catch (thrown) {
      if (thrown instanceof CryptokiError && thrown.rv !== 0) {
        return encodeFrame(frame.requestId, OUTCOME.returnValue, encodeReturnValue(thrown));
      }
      return encodeFrame(frame.requestId, OUTCOME.refused, encodeRefusal(asKeydError(thrown)));
    }
  }

  #perform({ kind, body }: Frame): Uint8Array {
    switch (kind) {
      case OPERATION.sign:
        if (body.length < KEY_ID_AND_ALGORITHM_OCTETS) throw malformed('A sign request is too short');
        return this.#keys.sign(
          body.subarray(0, KEY_ID_OCTETS),
          algorithmFromOctet(body[KEY_ID_OCTETS]),
          body.subarray(KEY_ID_AND_ALGORITHM_OCTETS),
        );
      case OPERATION.connect:
        return encodeMessage(this.#connection.connect(decodeMessage(connectRequest, body)));
      case OPERATION.login:
        this.#connection.login(body);
        return NOTHING;
      case OPERATION.generate:
        return encodeMessage(this.#keys.generate(decodeMessage(generateCommand, body)));
      case OPERATION.list:
        return encodeMessage(this.#listing.page(decodeMessage(listRequest, body).offset));
      case OPERATION.find: {
        const key = this.#keys.find(onlyKeyId(body));
        return encodeMessage(key === undefined ? {} : { key });
      }
      case OPERATION.protection:
        return encodeMessage({ attributes: this.#keys.protection(onlyKeyId(body)) });
      case OPERATION.destroy:
        this.#keys.destroy(onlyKeyId(body));
        return NOTHING;
      case OPERATION.probe:
        this.#connection.use((session) => {
          this.#connection.assertPresent(session);
        });
        return NOTHING;
      default:
        throw malformed(`There is no module host operation ${kind}`);
    }
  }
}

function onlyKeyId(body: Buffer): Buffer {
  if (body.length !== KEY_ID_OCTETS)
    throw malformed(`A key id is ${KEY_ID_OCTETS} octets, not ${body.length}`);
  return body;
}

function malformed(message: string): KeydError {
  return new KeydError('malformed_structure', message);
}
