/** An agent that signs HTTP messages, and requests that nothing is wrong with. */
import type { Agent } from '../../src/signing/agent.ts';
import { joinJws, jwsSigningInput } from '../../src/wire/jws.ts';
import type { HttpMessageRequest } from '../../src/wire/socket/signing.ts';
import { codeOfAsync } from './code-of.ts';
import { signOctets, testKey } from './signed-request.ts';
import {
  caller,
  signingFixture,
  stay,
  type SigningFixture,
  type SigningFixtureOptions,
} from './signing-fixture.ts';

export const GET: HttpMessageRequest = {
  profile: 'rfc9421',
  method: 'GET',
  targetUri: 'https://api.example/v1/pay?to=a',
};

interface Prepared extends SigningFixture {
  readonly planner: Agent;
  readonly sign: (request: HttpMessageRequest) => Promise<Readonly<Record<string, string>>>;
  readonly code: (request: HttpMessageRequest) => Promise<string | undefined>;
}

export async function prepare(options: SigningFixtureOptions = {}): Promise<Prepared> {
  const fixture = signingFixture(options);
  const planner = await fixture.agent('planner');
  const sign = async (request: HttpMessageRequest) =>
    (await fixture.signing.httpMessage(caller(), 'planner', request, stay())).headers;
  return { ...fixture, planner, sign, code: (request) => codeOfAsync(() => sign(request)) };
}

export const token = (claims: Readonly<Record<string, unknown>>, typ = 'at+jwt'): string => {
  const key = testKey();
  const input = jwsSigningInput({ alg: 'ES256', typ }, claims);
  return joinJws(input, signOctets(key, Buffer.from(input)));
};
