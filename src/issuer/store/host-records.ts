/** A host as the issuer keeps it, and the JSON forms of what the Verifier knows about its TPM. */
import { AnswerMemory } from '../../base/answer-memory.ts';
import { ASSURANCE_LEVELS, type AssuranceLevel } from '../../wire/assurance.ts';
import { boolean, integer, object, oneOf, parse, text } from '../../wire/check.ts';
import { parsePublicJwk, type PublicJwk } from '../../wire/jwk.ts';
import type { BootState } from '../verifier/boot-state.ts';
import type { Endorsement } from '../verifier/endorsement.ts';
import { integerOf, jsonOf, octetsOf, optionalTextOf, textOf, type Row } from './rows.ts';

/** An enrolled host and its standing. Times are Unix seconds. */
export interface EnrolledHost {
  /** Name of the AK, hex. */
  readonly akId: string;
  /** SHA-256 of the EK's TPMT_PUBLIC, hex. */
  readonly ekHash: string;
  /** TPMT_PUBLIC of the AK. */
  readonly akPublic: Uint8Array;
  readonly hostKey: PublicJwk;
  readonly auditKey: PublicJwk;
  /** TPMS_NV_PUBLIC of the counter under the host's logs; undefined where it enrolled none. */
  readonly nvPublic: Uint8Array | undefined;
  readonly endorsement: Endorsement;
  readonly boot: BootState;
  readonly assurance: AssuranceLevel;
  /** The named development policy that accepted `software`, if one did. */
  readonly developmentPolicy: string | undefined;
  /** Attestation Result of the standing, JWT. */
  readonly ear: string;
  readonly enrolledAtSeconds: number;
  readonly attestedAtSeconds: number;
  readonly standingEndsAtSeconds: number;
}

/** A host that asked for enrolment and that nobody has approved. */
export interface UnapprovedHost {
  readonly ekHash: string;
  readonly network: string;
  /** What the host says its TPM is: for people, no more. */
  readonly tpm: string;
  readonly firstSeenAtSeconds: number;
  readonly lastSeenAtSeconds: number;
}

const unsigned32 = integer({ min: 0, max: 0xffff_ffff });
const unsigned64 = text({ maxLength: 20, pattern: /^\d{1,20}$/ });
const sha256 = text({ maxLength: 64, pattern: /^[0-9a-f]{64}$/ });
const words = text({ maxLength: 1024 });

const endorsementJson = object({
  kind: oneOf(['vendor', 'virtual', 'test']),
  vendor: words,
  rootName: words,
  rootSha256: sha256,
  ekCertificateSha256: sha256,
  tpm: object({
    manufacturer: words,
    model: words,
    version: words,
    family: words,
    level: unsigned32,
    revision: unsigned32,
  }),
});

/** JSON has no 64-bit integers: they are decimal text. */
const bootJson = object({
  resetCount: unsigned32,
  restartCount: unsigned32,
  clock: unsigned64,
  safe: boolean,
  firmwareVersion: unsigned64,
});

/** A row is read several times for each credential. A key that is parsed once is imported once (wire/public-key.ts). */
const publicKeys = new AnswerMemory<PublicJwk>();
const endorsements = new AnswerMemory<Endorsement>();

export function serializeBoot(boot: BootState): string {
  return JSON.stringify({
    ...boot,
    clock: boot.clock.toString(),
    firmwareVersion: boot.firmwareVersion.toString(),
  });
}

/** The inverse of `serializeBoot`. @throws KeydError `internal` for damaged state */
export function parseBoot(serialized: string): BootState {
  const boot = parse(bootJson, JSON.parse(serialized) as unknown, 'internal');
  return { ...boot, clock: BigInt(boot.clock), firmwareVersion: BigInt(boot.firmwareVersion) };
}

export function toEnrolledHost(row: Row): EnrolledHost {
  return {
    akId: textOf(row, 'ak_id'),
    ekHash: textOf(row, 'ek_sha256'),
    akPublic: octetsOf(row, 'ak_public'),
    hostKey: publicKeyOf(row, 'host_key'),
    auditKey: publicKeyOf(row, 'audit_key'),
    nvPublic: row['nv_public'] === null ? undefined : octetsOf(row, 'nv_public'),
    endorsement: endorsements.answer(textOf(row, 'endorsement'), () =>
      parse(endorsementJson, jsonOf(row, 'endorsement'), 'internal'),
    ),
    boot: parseBoot(textOf(row, 'boot')),
    assurance: parse(oneOf(ASSURANCE_LEVELS), textOf(row, 'assurance'), 'internal'),
    developmentPolicy: optionalTextOf(row, 'development_policy'),
    ear: textOf(row, 'ear'),
    enrolledAtSeconds: integerOf(row, 'enrolled_at'),
    attestedAtSeconds: integerOf(row, 'attested_at'),
    standingEndsAtSeconds: integerOf(row, 'standing_ends_at'),
  };
}

export function toUnapprovedHost(row: Row): UnapprovedHost {
  return {
    ekHash: textOf(row, 'ek_sha256'),
    network: textOf(row, 'network'),
    tpm: textOf(row, 'tpm'),
    firstSeenAtSeconds: integerOf(row, 'first_seen_at'),
    lastSeenAtSeconds: integerOf(row, 'last_seen_at'),
  };
}

function publicKeyOf(row: Row, column: 'host_key' | 'audit_key'): PublicJwk {
  return publicKeys.answer(textOf(row, column), () => parsePublicJwk(jsonOf(row, column)));
}
