/** Entry point of the verification thread. It has public keys and nothing else. */
import { parentPort } from 'node:worker_threads';
import { QUESTION_HEADER_OCTETS, type ThreadMessage } from './verification-thread.ts';
import { VerifyingKey } from './verify-signature.ts';

const keys: VerifyingKey[] = [];

parentPort?.on('message', (message: ThreadMessage) => {
  if ('jwk' in message) {
    keys[message.key] = new VerifyingKey(message.jwk);
    return;
  }
  parentPort?.postMessage(answer(message.questions));
});

function answer(questions: Uint8Array<ArrayBuffer>): Uint8Array {
  const view = new DataView(questions.buffer, questions.byteOffset, questions.byteLength);
  const answers: number[] = [];
  for (let at = 0; at < questions.length;) {
    const key = keys[view.getUint32(at)];
    const octetsEnd = at + QUESTION_HEADER_OCTETS + view.getUint32(at + 4);
    const end = octetsEnd + view.getUint32(at + 8);
    const octets = questions.subarray(at + QUESTION_HEADER_OCTETS, octetsEnd);
    answers.push(key?.verifies(octets, questions.subarray(octetsEnd, end)) === true ? 1 : 0);
    at = end;
  }
  return Uint8Array.from(answers);
}
