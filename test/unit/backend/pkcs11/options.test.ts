import { describe, expect, it } from 'vitest';
import { checkOptions, type Pkcs11BackendOptions } from '../../../../src/backend/pkcs11/options.ts';
import { openPkcs11Backend } from '../../../../src/backend/pkcs11/pkcs11-backend.ts';
import { KeydError } from '../../../../src/wire/problem.ts';
import { codeOf, codeOfAsync } from '../../../support/code-of.ts';

const good: Pkcs11BackendOptions = {
  module: '/usr/lib/module.so',
  tokenLabel: 'token',
  pin: Buffer.from('1234'),
  pinFailures: { has: () => Promise.resolve(false), add: () => Promise.resolve() },
  pinHashKey: Buffer.alloc(32),
};

describe('options of the PKCS#11 backend', () => {
  it('are taken when they name a module, a token and a hash key', () => {
    checkOptions(good);
    checkOptions({ ...good, tokenSerial: '0123456789abcdef', processes: 64 });
  });

  it.each([
    ['a relative module', { module: 'module.so' }],
    ['an empty label', { tokenLabel: '' }],
    ['a label of 33 octets', { tokenLabel: 'ä'.repeat(16) + 'x' }],
    ['a serial of 17 octets', { tokenSerial: 'x'.repeat(17) }],
    ['no process', { processes: 0 }],
    ['half a process', { processes: 1.5 }],
    ['too many processes', { processes: 65 }],
    ['a short hash key', { pinHashKey: Buffer.alloc(31) }],
  ])('are refused with %s', async (_, wrong) => {
    expect(
      codeOf(() => {
        checkOptions({ ...good, ...wrong });
      }),
    ).toBe('configuration_invalid');
    expect(await codeOfAsync(() => openPkcs11Backend({ ...good, ...wrong }))).toBe('configuration_invalid');
  });

  it('are refused without a token, and with every fault at once', () => {
    const { pin, pinFailures, pinHashKey } = good;
    const faults = (): readonly string[] | undefined => {
      try {
        checkOptions({ module: 'm', pin, pinFailures, pinHashKey, processes: -1 });
      } catch (thrown) {
        if (thrown instanceof KeydError) return thrown.faults;
      }
      return undefined;
    };
    expect(faults()).toHaveLength(3);
  });
});
