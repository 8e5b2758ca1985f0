/** A chain of delegations for a person. Nothing is verified here; resource servers do that (`agentkeyd/verify`). */
import { decodeJwt } from '../wire/jws.ts';
import { describe } from './table.ts';

interface Detail {
  readonly scopes?: readonly string[];
  readonly constraints?: readonly Readonly<Record<string, unknown>>[];
}

/** One paragraph a token, the grant first. */
export function chainLines(chain: readonly string[]): string {
  return chain.map((token, depth) => paragraph(decodeJwt(token).claims, depth)).join('\n\n');
}

function paragraph(claims: Readonly<Record<string, unknown>>, depth: number): string {
  const [detail = {}] = claims['authorization_details'] as readonly Detail[];
  const { scopes = [], constraints = [] } = detail;
  const said = describe(
    {
      agent: claims['client_id'],
      ...(depth === 0
        ? { principal: claims['sub'], 'granted by': claims['iss'], approval: kindOf(claims['approval']) }
        : {}),
      scopes,
      audiences: claims['aud'],
      constraints: constraints.map(constraintText),
      'max depth': claims['del_max_depth'],
      until: new Date(Number(claims['exp']) * 1000).toISOString(),
      key: (claims['cnf'] as { readonly jkt?: string } | undefined)?.jkt,
    },
    '  ',
  );
  return `${depth === 0 ? 'grant' : `link ${depth}`}\n${said}`;
}

function kindOf(approval: unknown): unknown {
  return (approval as { readonly kind?: unknown } | undefined)?.kind;
}

function constraintText(constraint: Readonly<Record<string, unknown>>): string {
  const { key, ...rest } = constraint;
  const [[type, value] = ['', '']] = Object.entries(rest);
  return `${String(key)} ${type} ${typeof value === 'string' ? value : JSON.stringify(value)}`;
}
