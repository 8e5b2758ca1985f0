/** What policies cost that are not about the request: 1,000 of them over 10, half of other agents, half of other origins. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { spread } from '../../harness/stats.ts';
import { writeRequests } from '../../harness/requests.ts';
import { call, daemonCpuUs, loadWith, signRequest } from '../daemon.ts';
import type { BenchSandbox } from '../sandbox.ts';
import type { ScaleContext, Scaled } from './context.ts';

const FEW = 10;
const MANY = 1_000;
const AGENT = 'pay-pkcs11';
const CONNECTIONS = 8;

/** Daemon CPU per signature of the whole path, rounds of the two in turn. */
export async function measurePolicies(
  { dir, programs, rounds, say }: ScaleContext,
  { description, full }: BenchSandbox,
): Promise<Scaled> {
  const file = join(dir, 'policies.http');
  await writeRequests(file, [signRequest(AGENT, 'http-message')]);
  const policies = join(description.socket, '..', '..', 'policy.d', 'others.cedar');
  const cost = async (count: number): Promise<number> => {
    await writeFile(policies, otherPolicies(count), { mode: 0o644 });
    await call(description.adminSocket, 'POST', '/v1/policy/reload');
    await loadWith(programs, full, file, { connections: CONNECTIONS, seconds: 0.5 });
    return daemonCpuUs(await loadWith(programs, full, file, { connections: CONNECTIONS, seconds: 1 }));
  };
  const costs: { readonly few: number; readonly many: number }[] = [];
  for (let round = 1; round <= rounds; round += 1) {
    const few = await cost(FEW);
    const many = await cost(MANY);
    costs.push({ few, many });
    say(
      `scale ${round}/${rounds}  policies: ${FEW} cost ${few.toFixed(0)} us, ${MANY} cost ${many.toFixed(0)} us`,
    );
  }
  await writeFile(policies, '');
  await call(description.adminSocket, 'POST', '/v1/policy/reload');
  return {
    spread: spread(costs.map(({ few, many }) => many / few)),
    details: [
      {
        what: `daemon CPU per signature at ${FEW} other policies, µs`,
        spread: spread(costs.map(({ few }) => few)),
      },
      { what: `the same at ${MANY.toLocaleString('en')}, µs`, spread: spread(costs.map(({ many }) => many)) },
    ],
  };
}

function otherPolicies(count: number): string {
  const policy = (number: number): string => {
    const resource =
      number % 2 === 0 ? `resource in Agent::"other-${number}"` : `resource in Agent::"${AGENT}"`;
    return `@id("other-${number}")
@meter("USD.2 body:/amount")
permit (principal, action == Action::"http-message", ${resource})
when {
  principal.uid == resource.ownerUid &&
  context.origin == "https://other-${number}.example" &&
  context.method == "POST" &&
  ["/amount", "/payee"].containsAll(context.body.members)
};
`;
  };
  return Array.from({ length: count }, (_, number) => policy(number)).join('\n');
}
