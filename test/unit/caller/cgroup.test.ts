import fc from 'fast-check';
import { expect, test } from 'vitest';
import { cgroupFacts, servicePath } from '../../../src/caller/cgroup.ts';

const ID = '0123456789abcdef'.repeat(4);

test.each([
  ['/system.slice/payments.service', { unit: 'payments.service' }],
  ['/system.slice/payments.service/worker/docker-x', { unit: 'payments.service' }],
  ['/system.slice/system-agent.slice/agent@1.service', { unit: 'agent@1.service' }],
  ['/agents.slice/agents-eu.slice/a.service', { unit: 'a.service' }],
  [String.raw`/system.slice/dev-disk\x2dby.service`, { unit: String.raw`dev-disk\x2dby.service` }],
  [`/system.slice/docker-${ID}.scope`, { containerId: ID }],
  [`/machine.slice/libpod-${ID}.scope/container`, { containerId: ID }],
  [
    `/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-containerd-${ID}.scope`,
    { containerId: ID },
  ],
  [`/docker/${ID}`, { containerId: ID }],
  [`/kubepods/burstable/pod0a0a0a0a-0b0b-0c0c-0d0d-0e0e0e0e0e0e/${ID}`, { containerId: ID }],
])('%s', (path, facts) => {
  expect(cgroupFacts(path)).toEqual(facts);
});

test.each([
  // S10, cgroup name spoof: names that a user can give to cgroups of its own.
  `/user.slice/user-1000.slice/user@1000.service/system.slice/payments.service`,
  `/user.slice/user-1000.slice/user@1000.service/app.slice/docker-${ID}.scope`,
  `/user.slice/user-1000.slice/user@1000.service/docker/${ID}`,
  `/user.slice/payments.service`,
  '/user.slice/user-1000.slice/session-3.scope',
  // Outside our cgroup namespace, or relative to a root that is not root's.
  '/../system.slice/payments.service',
  '/system.slice/../payments.service',
  '/..',
  '/',
  '',
  'system.slice/payments.service',
  '/payments.service',
  '/system.slice',
  '/system.slice//payments.service',
  '/system.slice/payments.scope',
  '/system.slice/payments.service ',
  '/system.slice/payments.service (deleted)',
  `/system.slice/evil.scope/docker-${ID}.scope`,
  `/system.slice/docker-${ID.slice(1)}.scope`,
  `/system.slice/docker-${ID.toUpperCase()}.scope`,
  `/docker/${ID}x`,
  `/docker`,
  `/kubepods/pod1/${ID}`,
  `/kubepods/evil/burstable/pod0a0a0a0a-0b0b-0c0c-0d0d-0e0e0e0e0e0e/${ID}`,
  `/init.scope`,
])('S10: %j says nothing', (path) => {
  expect(cgroupFacts(path)).toEqual({});
});

const component = fc.stringMatching(/^[A-Za-z0-9:_.@-]{1,20}$/);

test('S10: nothing below a user’s slice ever names a unit or a container', () => {
  fc.assert(
    fc.property(fc.array(component, { maxLength: 6 }), (below) => {
      expect(cgroupFacts(`/user.slice/${below.join('/')}/docker-${ID}.scope`)).toEqual({});
      expect(cgroupFacts(`/user.slice/${below.join('/')}/x.service`)).toEqual({});
    }),
  );
});

test('S10: what a service makes below itself does not change who it is', () => {
  fc.assert(
    fc.property(fc.array(component, { maxLength: 6 }), (below) => {
      const facts = cgroupFacts(['/system.slice/real.service', ...below].join('/'));
      // "." and ".." are never a cgroup's name.
      expect([{ unit: 'real.service' }, {}]).toContainEqual(facts);
    }),
  );
});

test.each([
  ['0::/system.slice/a.service\n', '/system.slice/a.service'],
  ['12:cpu,cpuacct:/x\n1:name=systemd:/system.slice/a.service\n0::/\n', '/system.slice/a.service'],
  ['1:name=systemd:/system.slice/a.service\n0::/system.slice/a.service\n', '/system.slice/a.service'],
  // One of the hierarchies may be managed by somebody else.
  ['1:name=systemd:/system.slice/a.service\n0::/system.slice/b.service\n', undefined],
  ['1:name=evil:/system.slice/a.service\n0::/\n', undefined],
  ['0::/a\nnonsense\n', undefined],
  ['0::relative\n', undefined],
  ['', undefined],
  ['0::/\n', undefined],
])('the service path of %j', (text, path) => {
  expect(servicePath(text)).toBe(path);
});
