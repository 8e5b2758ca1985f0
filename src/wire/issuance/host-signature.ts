/** How a host's daemon authenticates its calls to the issuer: RFC 9421 by the host key (DECISIONS 11). */

/** Signature parameter `tag`; no agent endpoint can produce it. */
export const HOST_SIGNATURE_TAG = 'agentkey-host';
export const HOST_SIGNATURE_LABEL = 'host';
/** Covered components, in this order, on every call but enrolment. Parameters: created, nonce, keyid, tag. */
export const HOST_SIGNATURE_COMPONENTS = ['@method', '@target-uri', 'content-digest'] as const;
/** How far `created` may be from the issuer's clock, seconds. */
export const HOST_SIGNATURE_SKEW_SECONDS = 60;
