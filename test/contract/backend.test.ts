import { describeBackendContract } from './backend-contract.ts';
import { pkcs11Fixture } from './pkcs11-fixture.ts';
import { tpmFixture } from './tpm-fixture.ts';

describeBackendContract('PKCS#11 (SoftHSM)', () => pkcs11Fixture(1));
describeBackendContract('PKCS#11 (SoftHSM, three module hosts)', () => pkcs11Fixture(3));
describeBackendContract('TPM (swtpm)', () => tpmFixture('password'));
describeBackendContract('TPM (swtpm, salted sessions)', () => tpmFixture('salted'));
