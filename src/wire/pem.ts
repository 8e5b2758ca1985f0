/** Octets in textual encoding under a label (RFC 7468 §2): `CERTIFICATE REQUEST`, `TSS2 PRIVATE KEY`. */
export function toPem(label: string, octets: Uint8Array): string {
  const base64 = Buffer.from(octets.buffer, octets.byteOffset, octets.byteLength).toString('base64');
  const lines = base64.match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}
