/** What a caller says a call is for. Judged by policy and recorded as the caller's word; never taken for a fact. */
import { boolean, object, optional, text, type Infer } from '../check.ts';

const WORD = /^[A-Za-z0-9][A-Za-z0-9._:/-]*$/;
/** No control characters: it is shown to people and written to logs. */
const LINE = /^[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]+$/u;

const members = {
  /** A name such as `invoice-payment`, for policy to compare. */
  purpose: optional(text({ maxLength: 64, pattern: WORD, what: 'a name' })),
  task: optional(text({ maxLength: 128, pattern: WORD, what: 'a name' })),
  session: optional(text({ maxLength: 128, pattern: WORD, what: 'a name' })),
  /** For people. */
  note: optional(text({ maxLength: 512, pattern: LINE, what: 'one line without control characters' })),
} as const;

export const intent = object(members);
export type Intent = Infer<typeof intent>;

/** Of a message: `disclose` sends the names, not the note, as a field that the signature covers. */
export const messageIntent = object({ ...members, disclose: optional(boolean) });
export type MessageIntent = Infer<typeof messageIntent>;
