/** S12 and S4: what a person allowed is signed once, in time, and no longer than it was allowed for. */
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { PendingApproval } from '../../../src/policy/approval-desk.ts';
import type { HttpMessageReply } from '../../../src/wire/socket/signing.ts';
import { codeOfAsync } from '../../support/code-of.ts';
import {
  caller,
  engine,
  NOW_MS,
  NOW_S,
  rules,
  signingFixture,
  stay,
  type SigningFixture,
} from '../../support/signing-fixture.ts';

const ASK = '@id("ask") @approval("person") permit (principal, action == Action::"http-message", resource);';
const APPROVER = caller({ uid: 2000, ingress: { kind: 'admin' } });
/** Of the fixture's desk. */
const APPROVAL_MS = 60_000;

let now: number;
let fixture: SigningFixture;
let id: string;

beforeEach(async () => {
  now = NOW_MS;
  fixture = signingFixture({ policies: [ASK], now: () => now });
  await fixture.agent();
  const request = { profile: 'rfc9421', method: 'GET', targetUri: 'https://api.example/' } as const;
  const answer = await fixture.attended.httpMessage(caller(), 'planner', request, stay());
  if (!(answer instanceof PendingApproval)) throw new Error('nobody was asked');
  ({ id } = answer.approval);
  fixture.approvals.decide(APPROVER, id, 'allow');
});
afterEach(() => {
  vi.restoreAllMocks();
});

const collect = () => fixture.approvals.collect(caller(), id, stay());
const state = () => fixture.approvals.list()[0]?.state;

it('S12: is signed once', async () => {
  expect((await collect()) as HttpMessageReply).toHaveProperty('headers.signature');
  expect(state()).toBe('used');
  expect(await codeOfAsync(collect)).toBe('approval_void');
});

it('S4: does not outlive the approval', async () => {
  now += APPROVAL_MS - 10_000;
  const { headers } = (await collect()) as { headers: Record<string, string> };
  expect(headers['signature-input']).toContain(`;expires=${NOW_S + 60}`);
});

it('S12: is not signed when the approval ended while the call waited', async () => {
  const { approvals } = fixture;
  const claim = approvals.claim.bind(approvals);
  vi.spyOn(approvals, 'claim').mockImplementation((...args) => {
    now += APPROVAL_MS;
    claim(...args);
  });
  expect(await codeOfAsync(collect)).toBe('approval_void');
  expect(state()).toBe('expired');
});

it('S12: is void, and shown so, once its call has failed', async () => {
  const forbid = '@id("no") forbid (principal, action == Action::"http-message", resource);';
  fixture.authorizer.replace(rules(), engine(forbid));
  expect(await codeOfAsync(collect)).toBe('policy_denied');
  expect(state()).toBe('void');
  expect(await codeOfAsync(collect)).toBe('approval_void');
});
