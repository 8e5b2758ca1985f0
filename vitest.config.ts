import { defineConfig } from 'vitest/config';

// .ci/run counts tests from a JSON report.
const report = process.env['AGENTKEYD_TEST_REPORT'];

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    pool: 'forks',
    maxWorkers: 3,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    teardownTimeout: 20_000,
    // A loaded machine is no failure: what is polled for has as long as a test may take.
    expect: { poll: { timeout: 20_000, interval: 20 } },
    reporters: report === undefined ? ['default'] : ['default', 'json'],
    ...(report === undefined ? {} : { outputFile: { json: report } }),
  },
});
