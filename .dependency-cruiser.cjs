'use strict';
/**
 * The import rule: which room may know which, and which file may load what from outside.
 * A room may always import itself. `npm run check:imports` runs this and proves that it bites.
 */
const ROOMS = {
  wire: [],
  base: ['wire'],
  delegation: ['wire'],
  caller: ['base', 'wire'],
  ledger: ['base', 'wire'],
  backend: ['base', 'wire'],
  audit: ['base', 'wire'],
  policy: ['base', 'wire', 'caller', 'ledger'],
  signing: ['base', 'wire', 'caller', 'policy', 'backend', 'ledger', 'audit', 'delegation'],
  issuance: ['base', 'wire', 'backend', 'delegation'],
  socket: ['base', 'wire', 'caller', 'policy'],
  daemon: [
    'base',
    'wire',
    'delegation',
    'caller',
    'ledger',
    'backend',
    'audit',
    'policy',
    'signing',
    'issuance',
    'socket',
  ],
  issuer: ['base', 'wire', 'delegation'],
  verify: ['wire', 'delegation'],
  client: ['wire'],
  cli: ['client', 'wire', 'verify', 'policy', 'base'],
};

/** npm package -> the only files that may import it. */
const PACKAGES = {
  express: '^src/(socket|issuer|verify)/',
  pkcs11js: '^src/backend/pkcs11/',
  'node-forge': '^src/(issuer/|signing/certification-request[.]ts$)',
  jose: '^src/(issuance|issuer)/',
  'prom-client': '^src/socket/',
  '@cedar-policy/cedar-wasm': '^src/policy/cedar/',
  pino: '^src/base/logger[.]ts$',
  'smol-toml': '^src/(base/toml-config|issuer/commands/hosts)[.]ts$',
  commander: '^src/(daemon|issuer|cli)/',
};

const SIGNING_KEYS = '^src/issuer/signing-keys[.]ts$';

module.exports = {
  forbidden: [
    ...Object.entries(ROOMS).map(([room, may]) => ({
      name: `room-${room}`,
      severity: 'error',
      comment: `src/${room} may import only: ${[room, ...may].join(', ')}`,
      from: { path: `^src/${room}/`, ...(room === 'issuer' ? { pathNot: SIGNING_KEYS } : {}) },
      to: { path: '^src/', pathNot: `^src/(${[room, ...may].join('|')})/` },
    })),
    {
      name: 'issuer-signing-keys',
      severity: 'error',
      comment: 'The issuer reaches hardware through one file.',
      from: { path: SIGNING_KEYS },
      to: { path: '^src/', pathNot: '^src/(issuer|base|wire|delegation|backend)/' },
    },
    {
      name: 'verifier-never-reaches-backend',
      severity: 'error',
      from: { path: '^src/(issuer/verifier|client|verify)/' },
      to: { path: '^src/backend/', reachable: true },
    },
    ...Object.entries(PACKAGES).map(([name, only]) => ({
      name: `only-${name}`,
      severity: 'error',
      from: { path: '^src/', pathNot: only },
      to: { path: `^node_modules/(@types/)?${name}/` },
    })),
    {
      name: 'wire-and-client-use-no-packages',
      severity: 'error',
      from: { path: '^src/(wire|client)/' },
      to: { path: '^node_modules/' },
    },
    {
      name: 'native-only-through-four-files',
      severity: 'error',
      from: {
        path: '^src/',
        pathNot:
          '^src/(backend/tpm/esys|backend/pkcs11/verify-addon|caller/peer-credentials|daemon/process-control)[.]ts$',
      },
      to: { path: '[.]node$|^native/|^src/base/load-addon[.]ts$' },
    },
    { name: 'no-circular', severity: 'error', from: {}, to: { circular: true } },
    {
      name: 'unlisted-room',
      severity: 'error',
      from: { path: '^src/[^/]+/', pathNot: `^src/(${Object.keys(ROOMS).join('|')})/` },
      to: {},
    },
    {
      name: 'no-dev-dependency',
      severity: 'error',
      from: { path: '^src/' },
      to: {
        dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown'],
        dependencyTypesNot: ['type-only'],
      },
    },
    { name: 'resolvable', severity: 'error', from: { path: '^src/' }, to: { couldNotResolve: true } },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'require', 'node', 'default', 'types'],
    },
  },
};
