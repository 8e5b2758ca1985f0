import type { CommandAuditMemory } from '../../backend/command-audit.ts';
import { decodeBase64url, encodeBase64url } from '../../wire/base64url.ts';
import { integer, object, parse, text } from '../../wire/check.ts';
import type { DocumentStore } from './documents.ts';

const KIND = 'command-audit';
/** There is one TPM, so one record. */
const THE_AUDIT = 'audit';

const count = integer({ min: 0, max: 0xffff_ffff });
const octets = text({ maxLength: 128, pattern: /^[A-Za-z0-9_-]*$/ });
const shape = object({
  qualifiedSigner: octets,
  auditCounter: text({ maxLength: 20, pattern: /^\d+$/ }),
  resetCount: count,
  restartCount: count,
  digest: octets,
  signed: integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
});

/** Where the TPM's audit digest should be since the last orderly stop, as a document in state.db. */
export function openCommandAuditMemory(documents: DocumentStore): CommandAuditMemory {
  return {
    async take() {
      await Promise.resolve();
      const document = documents.get(KIND, THE_AUDIT);
      if (document === undefined) return undefined;
      documents.delete(KIND, THE_AUDIT);
      const { qualifiedSigner, auditCounter, digest, resetCount, restartCount, signed } = parse(
        shape,
        document,
        'internal',
      );
      return {
        mark: {
          qualifiedSigner: decodeBase64url(qualifiedSigner),
          auditCounter: BigInt(auditCounter),
          resetCount,
          restartCount,
        },
        expected: { digest: decodeBase64url(digest), signed },
      };
    },
    async save({ mark, expected }) {
      await Promise.resolve();
      documents.put(KIND, THE_AUDIT, {
        qualifiedSigner: encodeBase64url(mark.qualifiedSigner),
        auditCounter: String(mark.auditCounter),
        resetCount: mark.resetCount,
        restartCount: mark.restartCount,
        digest: encodeBase64url(expected.digest),
        signed: expected.signed,
      });
    },
  };
}
