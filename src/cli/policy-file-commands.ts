/** `agentkey policy check`, `test`, `explain`: offline. The policy language is loaded when one of them runs. */
import type { Command } from 'commander';
import type { CaseResult, Outcome } from '../policy/cases/judge-case.ts';
import type { PolicyCase } from '../policy/cases/read-cases.ts';
import type { ConditionResult, Explanation, PolicySet } from '../policy/cedar/policy-set.ts';
import { toJson } from '../wire/json-octets.ts';
import { KeydError } from '../wire/problem.ts';
import { print, type GlobalOptions, type Streams } from './context.ts';

/** Where the packaged daemon's policies lie. */
const DEFAULT_POLICIES = '/etc/agentkeyd/policy.d';

interface SetFlags {
  readonly policies?: string;
}

export function addPolicyFileCommands(policy: Command, streams: Streams): void {
  const globals = (command: Command): GlobalOptions => command.optsWithGlobals();

  addSchemaCommand(policy, streams);
  policy
    .command('check')
    .description('Read a directory of policies as the daemon does, and tell every fault')
    .argument('[directory]', `default ${DEFAULT_POLICIES}`)
    .action(async (directory: string | undefined, _flags: object, command: Command) => {
      const set = await loadDirectory(directory ?? DEFAULT_POLICIES);
      const { fingerprint, policies } = set;
      print(
        globals(command),
        streams,
        { fingerprint, policies },
        () => `${policies.length} policies are good, fingerprint ${fingerprint}`,
      );
    });

  policy
    .command('test')
    .description('Judge the cases of files, and tell which do not come out as expected')
    .argument('<file...>', 'cases: request, expected decision, expected policies (docs/policy.md)')
    .option('--policies <directory>', 'judge by these and not by the policies that the files name')
    .action(async (files: readonly string[], flags: SetFlags, command: Command) => {
      const results = await testFiles(files, flags);
      const cases = results.flatMap(({ results: all }) => all);
      const failed = cases.filter(({ faults }) => faults.length > 0).length;
      print(globals(command), streams, toJson({ cases: cases.length, failed, files: results }), () =>
        [
          ...results.flatMap(({ file, results: all }) => [file, ...all.map(resultLines)]),
          `${cases.length} cases, ${cases.length - failed} as expected, ${failed} not`,
        ].join('\n'),
      );
      if (failed === 0) return;
      throw new KeydError(
        'verification_failed',
        `${failed} of ${cases.length} cases did not come out as expected`,
      );
    });

  policy
    .command('explain')
    .description('Why a case is answered as it is, and what would have to be different')
    .argument('<file>', 'cases')
    .argument('[case]', 'name of the case; may be left out where there is one')
    .option('--policies <directory>', 'judge by these and not by the policies that the file names')
    .action(async (file: string, name: string | undefined, flags: SetFlags, command: Command) => {
      const { explainCase } = await import('../policy/cases/judge-case.ts');
      const { cases, set } = await readFile(file, flags);
      const asked = theCase(file, cases, name);
      const { outcome, explanation } = explainCase(set, asked);
      const { policies, advice } = explanation ?? { policies: [], advice: [] };
      print(globals(command), streams, toJson({ case: asked.name, outcome, policies, advice }), () =>
        [outcomeLine(outcome), ...(explanation === undefined ? [] : explanationLines(explanation))].join(
          '\n',
        ),
      );
    });
}

function addSchemaCommand(policy: Command, streams: Streams): void {
  policy
    .command('schema')
    .description('Print the Cedar schema that policies are validated against')
    .action(async () => {
      const { POLICY_SCHEMA } = await import('../policy/cedar/schema.ts');
      streams.out(POLICY_SCHEMA);
    });
}

async function loadDirectory(directory: string): Promise<PolicySet> {
  const [{ readPolicyFiles }, { loadPolicySet }] = await Promise.all([
    import('../policy/policy-directory.ts'),
    import('../policy/cedar/load-policy-set.ts'),
  ]);
  return loadPolicySet(readPolicyFiles(directory));
}

async function readFile(
  file: string,
  { policies }: SetFlags,
): Promise<{ readonly cases: readonly PolicyCase[]; readonly set: PolicySet }> {
  const { readCases } = await import('../policy/cases/read-cases.ts');
  const { cases, set: named } = readCases(file, policies === undefined);
  const set = policies === undefined ? named : await loadDirectory(policies);
  if (set !== undefined) return { cases, set };
  throw new KeydError('malformed_request', `${file} names no policies; give --policies DIRECTORY`);
}

async function testFiles(
  files: readonly string[],
  flags: SetFlags,
): Promise<readonly { readonly file: string; readonly results: readonly CaseResult[] }[]> {
  const { judgeCase } = await import('../policy/cases/judge-case.ts');
  const tested = [];
  for (const file of files) {
    const { cases, set } = await readFile(file, flags);
    tested.push({ file, results: cases.map((each) => judgeCase(set, each)) });
  }
  return tested;
}

function theCase(file: string, cases: readonly PolicyCase[], name: string | undefined): PolicyCase {
  const [only, ...more] = cases;
  if (name === undefined && only !== undefined && more.length === 0) return only;
  const found = cases.find((each) => each.name === name);
  if (found !== undefined) return found;
  const names = cases.map((each) => each.name);
  throw new KeydError('malformed_request', `name one of the cases of ${file}`, { faults: names });
}

function resultLines({ name, found, faults }: CaseResult): string {
  if (faults.length === 0) return `  ok    ${name}`;
  return [
    `  FAIL  ${name}`,
    ...faults.map((fault) => `        ${fault}`),
    `        ${outcomeLine(found)}`,
  ].join('\n');
}

function outcomeLine({ decision, policies, code, reason, charges = [] }: Outcome): string {
  const by = policies.length === 0 ? '' : ` by ${policies.join(', ')}`;
  const cost = charges.length === 0 ? '' : `, which takes ${charges.join(', ')}`;
  return `${decision}${code === undefined ? '' : ` ${code}`}${by}${cost}${reason === undefined ? '' : `: ${reason}`}`;
}

const RESULTS: Readonly<Record<ConditionResult['result'], string>> = {
  holds: 'holds',
  fails: 'FAILS',
  error: 'ERROR',
  'not-reached': '-',
};

function explanationLines({ policies, advice }: Explanation): readonly string[] {
  // The first sentence is the reason, which the outcome tells.
  const different = advice.slice(1);
  return [
    ...policies.flatMap(({ id, effect, file, line, outcome, conditions }) => [
      '',
      `${effect} ${id} (${file}:${line}): ${outcome.replace('-', ' ')}`,
      ...conditions.map(conditionLine),
    ]),
    ...(different.length === 0
      ? []
      : ['', 'What would have to be different:', ...different.map((it) => `  - ${it}`)]),
  ];
}

function conditionLine({ text, result, values, error }: ConditionResult): string {
  const shown = Object.entries(values).map(([path, value]) => `${path} is ${value}`);
  const more = [...shown, ...(error === undefined ? [] : [error])].join('; ');
  return `  ${RESULTS[result].padEnd(5)}  ${text.replaceAll(/\s+/g, ' ')}${more === '' ? '' : `   # ${more}`}`;
}
