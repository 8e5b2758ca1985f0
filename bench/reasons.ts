/**
 * Why a bound of figures.ts is missed, by the figure's name: what the profile shows, what the limit is. The report
 * prints it beside the figure as long as the bound is missed, so that making the report anew loses nothing.
 */
const MAIN_THREAD =
  'the main thread is the limit: of a bare signature it takes about 290 µs, of which 80 are HTTP, express and asking' +
  ' the kernel about the caller (`GET /healthz` alone), the rest typed signing, the queue and the way to the token';
const PARTS =
  'policy, ledger and audit together add about 1 ms of CPU on this machine (the table below), the largest part of it policy: Cedar’s' +
  ' call takes 15 µs for nothing and 15 more for each entity that a policy reads, in a loop of its own; among' +
  ' everything else it takes two to three times as long';

export const REASONS: Readonly<Record<string, string>> = {
  pkcs11_bare_vs_raw:
    `${MAIN_THREAD}. Two parts of a signature are not the main thread's and can not be left out: the daemon verifies` +
    ' what a module host signs before it releases it (130 to 150 µs on a thread of its own), and the module runs in' +
    ' another process (100 µs with C_Sign). With the load generator these are 260 µs of the 2 s of CPU that a second' +
    ' has: a main thread that took no time would reach about 0.4.',
  pkcs11_full_vs_raw: `as bare, and ${PARTS}.`,
  tpm_full_vs_raw:
    `the TPM waits for the main thread: a full signature takes it longer than swtpm takes to sign; ${PARTS}. A chip of 30 ms` +
    ' is kept busy to 94 % (`slow_rate`).',
  tpm_full_vs_raw_64: 'as with 8 connections.',
  vs_ssh_agent_pkcs11: `${MAIN_THREAD}; ssh-agent signs in the process that reads the socket and verifies nothing.`,
  full_vs_ssh_agent_pkcs11: `as bare, and ${PARTS}.`,
  vs_p11_kit:
    'p11-kit server has a process for each connection, so that both cores sign, and it checks neither the caller nor' +
    ' the signature.',
  full_vs_p11_kit: `as bare, and ${PARTS}.`,
  added_p50_us:
    'a metered signature waits for two durable writes, one before the hardware is asked and one beside it (0.1 to' +
    ' 0.2 ms each here), for four wake-ups between processes, tens of µs each on this virtual machine, and for the' +
    ' CPU time that the tables below tell.',
  p99_ms:
    'with 8 connections that ask again at once, a request takes eight times what the main thread takes for one.',
  issuances_per_s:
    'the issuer takes 12 ms of CPU for one: a TLS 1.3 handshake, because evidence is bound to its connection, the' +
    ' verification of evidence and of the host’s signature, five signatures in its token, each verified again (S17), and' +
    ' several transactions; the profile is flat.',
};
