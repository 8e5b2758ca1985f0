import type { HttpMessageRequest } from '../wire/socket/signing.ts';

/** `sign/http-message` with octets instead of their base64url. */
export type HttpMessageInput = Omit<HttpMessageRequest, 'body'> & { readonly body?: Uint8Array };
