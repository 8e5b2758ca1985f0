/** Hosts of URIs in canonical form: A-labels (RFC 5890), IPv4 and IPv6 as browsers and Node write them. */

const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const IPV4_PART = /^(?:0|[1-9][0-9]{0,2})$/;

/** What is wrong with `host` as the canonical host of a URI, or undefined. */
export function hostFault(host: string): string | undefined {
  if (host === '') return 'is empty';
  if (host.startsWith('[')) return ipv6Fault(host.slice(1, -1));
  if (host !== host.toLowerCase()) return 'is not lower case';
  if (host.length > 253) return 'is longer than 253 characters';
  const labels = host.split('.');
  if (!labels.every((label) => LABEL.test(label))) return 'is not made of A-labels';
  // A host that ends in a number is an IPv4 address to every URL parser (WHATWG URL, "ends in a number").
  const last = labels[labels.length - 1] ?? '';
  if (/^(?:[0-9]+|0x[0-9a-f]*)$/.test(last)) {
    const dotted = labels.length === 4 && labels.every((part) => IPV4_PART.test(part) && Number(part) <= 255);
    return dotted ? undefined : 'ends in a number but is no dotted IPv4 address';
  }
  return undefined;
}

function ipv6Fault(text: string): string | undefined {
  const groups = parseIpv6(text);
  if (groups === undefined) return 'is no IPv6 address';
  return formatIpv6(groups) === text ? undefined : `is an IPv6 address not written as ${formatIpv6(groups)}`;
}

/** Eight 16-bit groups, or undefined; the dotted tail and zone identifiers are not taken. */
function parseIpv6(text: string): readonly number[] | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const lists = halves.map((half) => (half === '' ? [] : half.split(':')));
  const [head = [], tail = []] = lists;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  const groups = [...head, ...Array.from({ length: missing }, () => '0'), ...tail];
  if (!groups.every((group) => /^[0-9a-fA-F]{1,4}$/.test(group))) return undefined;
  return groups.map((group) => Number.parseInt(group, 16));
}

/** RFC 5952 §4: lower case, no leading zeros, the first longest run of two or more zero groups shortened. */
function formatIpv6(groups: readonly number[]): string {
  let best = { start: -1, length: 1 };
  for (let start = 0; start < groups.length; start += 1) {
    let length = 0;
    while (groups[start + length] === 0) length += 1;
    if (length > best.length) best = { start, length };
  }
  const hex = (part: readonly number[]): string => part.map((group) => group.toString(16)).join(':');
  if (best.start === -1) return hex(groups);
  return `${hex(groups.slice(0, best.start))}::${hex(groups.slice(best.start + best.length))}`;
}
