/**
 * Endorsement roots that are trusted by fingerprint: facts that the vendors publish, as collected and checked by
 * the tpm-ca-certificates project (loicsikidi/tpm-ca-certificates, commit 366e970a) and, for cloud vTPMs, by
 * google/go-tpm-tools (commit 67670e5c). The certificates themselves are brought by the operator
 * (`agentkey-issuer roots import`) and kept only where their SHA-256 is listed here. Where a vendor publishes a
 * SHA-1 only (Nuvoton), the SHA-256 is that of the certificate with that SHA-1.
 */
export interface PinnedRoot {
  readonly vendor: string;
  readonly name: string;
  /** `virtual`: the root vouches for vTPMs of a cloud provider, not for chips. */
  readonly kind: 'vendor' | 'virtual';
  /** SHA-256 of the certificate's DER, lower-case hex. */
  readonly sha256: string;
}

export const PINNED_ROOTS: readonly PinnedRoot[] = [
  {
    vendor: 'AMD',
    name: 'AMD Pluton Global Factory ICA',
    kind: 'vendor',
    sha256: '593a1794f9e17476c7ad427d2908a97c451451c9e0939fdc80d5d662c232d401',
  },
  {
    vendor: 'AMD',
    name: 'AMDTPM ECC (modern version)',
    kind: 'vendor',
    sha256: '14aac9fd58471a612afd75d8c0955daf99f091b1863702f9e0d4113faf234f9d',
  },
  {
    vendor: 'AMD',
    name: 'AMDTPM RSA (modern version)',
    kind: 'vendor',
    sha256: '67bd2472a546751caca5f358a78f80727531671338960a9bcfdfbe6a34d0c6a1',
  },
  {
    vendor: 'Infineon',
    name: 'Infineon OPTIGA(TM) ECC Root CA',
    kind: 'vendor',
    sha256: 'cfeb02fecd55ad7a73c6e1d11985d4c47dee248ab63dcb66091a2489660443c3',
  },
  {
    vendor: 'Infineon',
    name: 'Infineon OPTIGA(TM) ECC Root CA 2',
    kind: 'vendor',
    sha256: 'ee0c827555c4e9012037df4257bb8aaa26084a17b13ede41cd7895c8d6c11190',
  },
  {
    vendor: 'Infineon',
    name: 'Infineon OPTIGA(TM) RSA Root CA',
    kind: 'vendor',
    sha256: '899e35474c9807eb4c7f2f7a12da0028fb250cd02154d0009fca7d9c66574f3b',
  },
  {
    vendor: 'Infineon',
    name: 'Infineon OPTIGA(TM) RSA Root CA 2',
    kind: 'vendor',
    sha256: 'b413c71580af3ec5efe83fad31db2d4af4612355e3b01e50903b10763d738894',
  },
  {
    vendor: 'Intel',
    name: 'OnDie CA RootCA',
    kind: 'vendor',
    sha256: 'beb40bb7507b33967226aa80e084749fbb6593893c642e818d682e9a8d07fc24',
  },
  {
    vendor: 'Microsoft',
    name: 'Microsoft Pluton Root CA 2021',
    kind: 'vendor',
    sha256: '32ab5fe7cb4396659fcb621ca14c6fb8fc2420f64050637d77e45a86c5d3916e',
  },
  {
    vendor: 'Microsoft',
    name: 'Microsoft TPM Root Certificate Authority 2014',
    kind: 'vendor',
    sha256: '870c7a35ceab3d59979f2c6a524042d404cb71518004350925fb2ced79a999da',
  },
  {
    vendor: 'NSING',
    name: 'NSING TPM ECC ROOT CA 001',
    kind: 'vendor',
    sha256: '6ccf8a8a803d07a002a15d4889ffa0b125e4a82a1fe4211db3c6e8592919f9dc',
  },
  {
    vendor: 'NSING',
    name: 'NSING TPM RSA ROOT CA 001',
    kind: 'vendor',
    sha256: '72ca00612395af027cd84c5514219f110e964dfa0bfc1efbb3ac147e3b173971',
  },
  {
    vendor: 'Nuvoton Technology',
    name: 'NPCTxxx ECC521 RootCA',
    kind: 'vendor',
    sha256: '083e7bd13e8fe0bb9b0c64db9e0c8356681df65714d2d5c4925eb98ae1369d40',
  },
  {
    vendor: 'Nuvoton Technology',
    name: 'Nuvoton TPM Root CA 1110',
    kind: 'vendor',
    sha256: '2782e51a95e86d9557fe4204316cf805bd6f5898f81f9732e944d742bcdc5f54',
  },
  {
    vendor: 'Nuvoton Technology',
    name: 'Nuvoton TPM Root CA 1111',
    kind: 'vendor',
    sha256: 'e38c280f7c0e0b49f31efc7531032bb6a86c3fba4eb89beb1d510eaa4510ae4a',
  },
  {
    vendor: 'Nuvoton Technology',
    name: 'Nuvoton TPM Root CA 2111',
    kind: 'vendor',
    sha256: 'cd8185ff8995ed09811970090a8c36fafab34ef87f47fa51fdb9ecf95c9c2e04',
  },
  {
    vendor: 'Nuvoton Technology',
    name: 'Nuvoton TPM Root CA 2112',
    kind: 'vendor',
    sha256: '66e3a1013d4f697700f731e7d68c69b58351f90ec9580d85862d020ab4abf1af',
  },
  {
    vendor: 'Nuvoton Technology',
    name: 'NuvotonTPMRootCA1210',
    kind: 'vendor',
    sha256: 'ba70a6ea7b77c7fee8947a07b1e70e0b26d39ce5e6307f63d5e4b9507f19a157',
  },
  {
    vendor: 'Nuvoton Technology',
    name: 'NuvotonTPMRootCA2210',
    kind: 'vendor',
    sha256: 'fc61abbc18100f460205ebe09d8c3e6995ac2be2234344a7facb62e15f9a7584',
  },
  {
    vendor: 'Nuvoton Technology',
    name: 'NuvotonTPMRootCA2211',
    kind: 'vendor',
    sha256: '2bbc5db224b8f28a6d2cf336d4da7ab21c8c490e3d60ef497801dc0b6ac00227',
  },
  {
    vendor: 'STMicroelectronics',
    name: 'GlobalSign Trusted Platform Module ECC Root CA',
    kind: 'vendor',
    sha256: '5a8c7b5eb888cfce9322068e80e82b28b554ffeb7fdc9638dcb3763077401d26',
  },
  {
    vendor: 'STMicroelectronics',
    name: 'GlobalSign Trusted Platform Module Root CA',
    kind: 'vendor',
    sha256: 'f27bf02c6e00c73d915eeb6a6a2f5fbf0c31ae0393149e6b5c31e41b113841c3',
  },
  {
    vendor: 'STMicroelectronics',
    name: 'STM TPM ECC Root CA 01',
    kind: 'vendor',
    sha256: 'c541d7e5b9e3f935621acbd403896225ec641036c9ae3b5f7ac793a606ff9b79',
  },
  {
    vendor: 'STMicroelectronics',
    name: 'STM TPM EK Root CA',
    kind: 'vendor',
    sha256: 'f8e37a86b689a20a6cc0c40cc3f81fb130fa9f44ce7ffa60d62590aaf87273a9',
  },
  {
    vendor: 'STMicroelectronics',
    name: 'STSAFE ECC Root CA 02',
    kind: 'vendor',
    sha256: 'fd1e7b68accd825636b27b3177c67402d463a7f04c97b6c47ab705fcdc1a04f6',
  },
  {
    vendor: 'STMicroelectronics',
    name: 'STSAFE RSA Root CA 02',
    kind: 'vendor',
    sha256: 'c8f179943356e13d9d84b100201cefabbf408880241e5329e60d950ce1dea623',
  },
  {
    vendor: 'Google Cloud',
    name: 'tpm_ek_v1_cloud_host_root',
    kind: 'virtual',
    sha256: '9bd5285f8fb18502a7947e621ffd470266f49fcd3b73e19a190f690ad32a7caf',
  },
  {
    vendor: 'Google Cloud',
    name: 'EK/AK CA Root',
    kind: 'virtual',
    sha256: '594759594b9b61524f6c8ef668f7177f7b9066bc0674f2f49fe9e052be78beb2',
  },
];
