/**
 * Why a bound of figures.ts is missed, by the figure's name: what the profile shows, what the limit is. The report
 * prints it beside the figure as long as the bound is missed, so that making the report anew loses nothing.
 */
const MAIN_THREAD =
  'the main thread is the limit: of a bare signature it takes 95 to 170 µs with 64 connections and 120 to 210 with 8, of which 20' +
  ' to 40 are HTTP, express and asking the kernel about the caller (`GET /healthz` alone), the rest typed signing, the queue and the way' +
  ' to the token. The profile is flat: no function has 7 % of it, and only asking the kernel about the caller and hashing have 5;' +
  ' a third is C++ of Node and V8, a quarter V8’s builtins. What is left is mostly the processor’s caches: requests go on together as far as they come together (docs/decisions/0046)';
const PARTS =
  'policy, ledger and audit together add what the table below tells, none of it in one place; Cedar’s answer is remembered' +
  ' (docs/decisions/0042), and records that are appended together are one write';
const LEFT =
  'C_SignInit and C_Sign in another process (55 to 90 µs) and OpenSSL’s verification (61 µs by `openssl speed`) are seven tenths to' +
  ' the whole of what the bound allows, from run to run: compare the column of the required steps';

const TPM =
  'swtpm, the load generator and the daemon share two cores: a full signature takes the main thread 250 to 350 µs and other threads' +
  ` 110 to 140, while swtpm takes 400 to 560 to sign; ${PARTS}. A chip of 30 ms is kept busy (\`slow_rate\`)`;

const REASONS: Readonly<Record<string, string>> = {
  pkcs11_bare_vs_raw:
    `${LEFT}. At the bound they leave 10 to 50 µs of two cores for the load generator (5 to 10), HTTP, JSON, who calls` +
    ` and what is signed. As it is, ${MAIN_THREAD}.`,
  pkcs11_full_vs_raw: `${LEFT}. As bare, and ${PARTS}.`,
  tpm_full_vs_raw: `${TPM}.`,
  tpm_full_vs_raw_64: `${TPM}.`,
  vs_ssh_agent_pkcs11: `${MAIN_THREAD}; ssh-agent signs in the process that reads the socket and verifies nothing.`,
  full_vs_ssh_agent_pkcs11: `the required steps alone are hardly quicker than the bound. As bare, and ${PARTS}.`,
  vs_p11_kit:
    'p11-kit server has a process for each connection, so that both cores sign, and it checks neither the caller nor' +
    ' the signature.',
  full_vs_p11_kit: `the required steps alone do not reach it: p11-kit server does none of them. As bare, and ${PARTS}.`,
  added_p50_us:
    'of the bound the required steps alone leave 90 to 190 µs for HTTP on both sides, JSON, who calls, what is signed, policy, ledger' +
    ' and audit. The way of one request by the kernel’s trace: 280 µs of main thread until the reservation is handed over,' +
    ' 180 until it is on disk (the device writes, then flushes), 125 until the module is asked, 110 for its answer, 205 until it is' +
    ' verified and handed on, 65 until the answer is written. The main thread takes three times as long as for one of many' +
    ' requests: each step’s code is no longer in the caches when the next request comes to it. A thread that never sleeps' +
    ' changes a tenth of it, V8 without its optimising compiler as little, huge pages for Node’s code nothing. Some of it is the' +
    ' waking of a processor at each step: where loops of the idle class keep both awake, a bare request takes a fifth less.',
  p99_ms:
    'with 8 connections that ask again at once, a request takes eight times what the main thread takes for one (the median is half' +
    ' of the p99), and waits for the two durable writes with the others and for a core with host, verification and journals. Collections of the' +
    ' young generation are 1.1 ms every 54: four times as much room for them makes it no shorter.',
  policies_1000_vs_10:
    'half of the thousand are about the agent that signs and pinned to other origins; they are not asked, but 10 policies have' +
    ' become cheap.',
  issuances_per_s:
    'the issuer takes 2.7 to 4.6 ms of CPU for one and its module hosts 0.55 to 0.8, as fast as this virtual machine happens to be;' +
    ' it was 5 to 6.3 and 0.7 when each of seven writes was a commit of its own and an agent’s key was imported anew each time.' +
    ' A fifth of it can not be less: ten verifications of P-256, 73 µs each in OpenSSL alone (two host signatures, the two' +
    ' statements of the TPM and the CSR; the challenge, the Attestation Result, certificate, WIT and root grant before they are' +
    ' released, S17, beside the agent token’s Ed25519). The issuer’s main thread has four fifths of the CPU: half of that is' +
    ' JavaScript and V8, a quarter OpenSSL, a seventh the kernel (sockets, and 19 pages and 1.3 waits for the disk), a' +
    ' twentieth SQLite. No function of ours has 3 % of it.',
  audit_1m_vs_10k:
    'what an entry costs does not depend on how many there are (the tree keeps its right edge, files are segments): in other runs of the same' +
    ' code it was 0.93 and 0.94, and single rounds go from 0.83 to 1.16, as the machine changes its pace between the two halves of one.',
  slow_rate:
    'between the TPM’s answer and its next command, which waits in the addon, the simulator’s TCTI connects anew, and the thread that' +
    ' does so may wait for a core while the main thread wakes: 0.1 ms mostly, 1 at times.',
  flood_light_p99:
    'all callers share the main thread and two cores: beside a flood the median is twice the idle one, and the second worst of 250' +
    ' requests has waited for a collection (1 to 5 ms, a full one 10 to 15) or for the thread’s own turn on a core. What it is held' +
    ' against has fallen too: the idle p99 was twice as long (docs/decisions/0030).',
};

/** A line of Markdown: why the figure of this name is missed, as far as it is written down. */
export function reasonLine(name: string): string {
  return `- \`${name}\`: ${REASONS[name] ?? 'missed; why is not written down yet (bench/reasons.ts).'}`;
}
