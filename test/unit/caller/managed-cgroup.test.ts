import { expect, it } from 'vitest';
import { managedCgroup } from '../../../src/caller/cgroup.ts';

const ID = 'a'.repeat(64);

// Below what root manages a process may move about, so that the rest tells nothing (S12).
it.each([
  ['/system.slice/sshd.service', '/system.slice/sshd.service'],
  ['/system.slice/agent.service/worker/1', '/system.slice/agent.service'],
  ['/user.slice/user-1000.slice/session-3.scope', '/user.slice/user-1000.slice'],
  ['/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope', '/user.slice/user-1000.slice'],
  [`/docker/${ID}/any`, `container:${ID}`],
  [`/system.slice/docker-${ID}.scope/init`, `container:${ID}`],
  ['/machine.slice/a.slice/b.scope/c', '/machine.slice/a.slice/b.scope'],
  ['/unknown/layout', '/unknown/layout'],
  ['/../outside', '/../outside'],
])('%s belongs to %s', (path, managed) => {
  expect(managedCgroup(path)).toBe(managed);
});
