/**
 * What policy reads of a typed request, from the request alone: for signing, which makes proposals of it, and for
 * people who test their policies without a daemon. Both judge by the same reading.
 */
import { combinedFieldValue, fieldValues, trimOws, type FieldLine } from '../wire/field-lines.ts';
import { KeydError } from '../wire/problem.ts';
import { INTENT_HEADER, requiredComponents, type ProfileName } from '../wire/profiles.ts';
import type { MessageIntent } from '../wire/socket/intent.ts';
import { serializeItem, serializeMember } from '../wire/structured-fields.ts';
import type { BoundParameter, HttpMessageParameters } from './proposal.ts';

/** Another host's digest, taken as it is: one SHA-256 in canonical base64 (RFC 9530 §2). */
const SHA256_DIGEST = /^sha-256=:[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=:$/;
const MAX_AUDIENCES = 16;

export type MessageContent = HttpMessageParameters['content'];

export interface ReadContent {
  readonly content: MessageContent;
  /** The caller's lines, without a Content-Digest that stands for a body nobody shows. */
  readonly lines: readonly FieldLine[];
  /** That Content-Digest. */
  readonly digest: string | undefined;
}

/** @throws KeydError `invalid_header` */
export function messageContent(lines: readonly FieldLine[] = [], body: Uint8Array | undefined): ReadContent {
  if (body !== undefined) return { content: { kind: 'octets', octets: body }, lines, digest: undefined };
  const [first, ...more] = fieldValues(lines, 'content-digest');
  if (first === undefined) return { content: { kind: 'none' }, lines, digest: undefined };
  if (more.length > 0 || !SHA256_DIGEST.test(trimOws(first))) {
    throw new KeydError('invalid_header', 'content-digest must be one sha-256 digest in canonical form');
  }
  return {
    content: { kind: 'digest' },
    lines: lines.filter(([name]) => name.toLowerCase() !== 'content-digest'),
    digest: combinedFieldValue(lines, 'content-digest'),
  };
}

/**
 * What the profile demands, then what the caller adds (S7: it can only add).
 * @param lines every line that will be sent
 * @throws KeydError `invalid_component`
 */
export function messageComponents(
  profile: ProfileName,
  lines: readonly FieldLine[],
  content: MessageContent,
  extra: readonly string[] = [],
): readonly string[] {
  const names = new Set(lines.map(([name]) => name.toLowerCase()));
  const required = requiredComponents(profile, names, content.kind !== 'none');
  const twice = extra.find((name, index) => extra.indexOf(name) !== index);
  if (twice !== undefined) {
    throw new KeydError('invalid_component', `the component ${JSON.stringify(twice)} is there twice`);
  }
  return [...required, ...extra.filter((name) => !required.includes(name))];
}

/** What a message signature over these components binds (S3). @param namesTarget has the parameter `wimse-aud` */
export function messageBinds(components: readonly string[], namesTarget: boolean): readonly BoundParameter[] {
  const byParameters: readonly BoundParameter[] = namesTarget ? ['scheme', 'authority', 'path'] : [];
  const byComponents = components.flatMap((name): readonly BoundParameter[] => {
    switch (name) {
      case '@method':
        return ['method'];
      case '@target-uri':
        return ['scheme', 'authority', 'path', 'query'];
      case '@request-target':
        return ['path', 'query'];
      case 'content-digest':
        return ['body', 'header:content-digest'];
      case 'authorization':
        return ['access-token', 'header:authorization'];
      default:
        return name.startsWith('@') ? [] : [`header:${name}`];
    }
  });
  return [...byParameters, ...byComponents];
}

/** Lower case, without parameters; undefined without a content-type. @throws KeydError `invalid_header` */
export function messageMediaType(lines: readonly FieldLine[]): string | undefined {
  const value = lines.find(([name]) => name === 'content-type')?.[1];
  if (value === undefined) return undefined;
  const type = trimOws(value.split(';', 1)[0] ?? '').toLowerCase();
  if (!/^[a-z0-9!#$&^_.+-]+\/[a-z0-9!#$&^_.+-]+$/.test(type)) {
    throw new KeydError('invalid_header', 'content-type is no media type');
  }
  return type;
}

/** The line that discloses an intent: names only, for the note is for people on this side. */
export function intentLine({ disclose, purpose, task, session }: MessageIntent): readonly FieldLine[] {
  if (disclose !== true) return [];
  const members = Object.entries({ purpose, task, session }).flatMap(([name, value]) =>
    value === undefined ? [] : [serializeMember(name, serializeItem({ value, parameters: [] }))],
  );
  return members.length === 0 ? [] : [[INTENT_HEADER, members.join(', ')]];
}

export function normalLine([name, value]: FieldLine): FieldLine {
  return [name.toLowerCase(), trimOws(value)];
}

/** What a DPoP proof binds: neither query nor headers nor body (S3). */
export function dpopBinds(accessTokenHash: string | undefined): readonly BoundParameter[] {
  return [
    'method',
    'scheme',
    'authority',
    'path',
    ...(accessTokenHash === undefined ? [] : (['access-token'] as const)),
  ];
}

/** `aud` of a JWT as a list. @throws KeydError `malformed_request` */
export function jwtAudience(claims: Readonly<Record<string, unknown>>): readonly string[] {
  const aud = claims['aud'];
  if (aud === undefined) return [];
  const list: readonly unknown[] = Array.isArray(aud) ? aud : [aud];
  if (list.length > MAX_AUDIENCES || !list.every((item) => typeof item === 'string')) {
    throw new KeydError('malformed_request', `aud must be a string or at most ${MAX_AUDIENCES} strings`);
  }
  return list;
}
