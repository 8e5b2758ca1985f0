/**
 * The external decision point over the OpenID AuthZEN Access Evaluation API 1.0. It permits by one whole, strict
 * `{"decision": true}` within the deadline; everything else denies.
 */
import { FairQueue } from '../../base/fair-queue.ts';
import type { Logger } from '../../base/logger.ts';
import { callerShare } from '../../caller/caller.ts';
import { asKeydError, KeydError } from '../../wire/problem.ts';
import type { DecisionPoint, SecondOpinion } from '../decision.ts';
import type { Obligations, PolicyRequest } from '../verdict.ts';
import { readDecision } from './evaluation-answer.ts';
import { EvaluationChannel, MAX_CONNECTIONS, type EvaluationEndpoint } from './evaluation-channel.ts';
import { evaluationRequest, type SentFacts } from './evaluation-request.ts';

export interface AuthzenOptions {
  readonly endpoint: EvaluationEndpoint;
  /** For the whole question: waiting for a connection, the answer, and asking again over a new connection. */
  readonly deadlineMs: number;
  readonly sent: Pick<SentFacts, 'documents' | 'headers'>;
  /** Read at each question: enrolment can change it. */
  readonly host: () => SentFacts['host'];
  readonly log: Logger;
  /** Told of each question, what came of it and how long it took. */
  readonly measured: (outcome: Outcome, seconds: number) => void;
}

/** `failed`: no answer that could be used. `withdrawn`: the caller went away, or the daemon stops. */
export type Outcome = 'permit' | 'deny' | 'failed' | 'withdrawn';

export class AuthzenDecisionPoint implements DecisionPoint {
  readonly #options: AuthzenOptions;
  readonly #channel: EvaluationChannel;
  /** One caller's questions do not keep another's waiting (S20). */
  readonly #queue: FairQueue;
  /** Code of the last answer that could not be used, while none that could has followed. */
  #failing: string | undefined;

  constructor(options: AuthzenOptions) {
    this.#options = options;
    this.#channel = new EvaluationChannel(options.endpoint);
    this.#queue = new FairQueue({
      name: 'the external decision point',
      concurrency: MAX_CONNECTIONS,
      maxWaitingPerShare: 256,
      maxWaiting: 1024,
      reservedWaiting: 0,
      expectedServiceMs: 2,
    });
  }

  async ask(request: PolicyRequest, obligations: Obligations, signal: AbortSignal): Promise<SecondOpinion> {
    const began = performance.now();
    const opinion = await this.#ask(request, obligations, signal);
    this.#options.measured(outcomeOf(opinion), (performance.now() - began) / 1000);
    this.#tell(opinion);
    return opinion;
  }

  /** Lets go of its connections; what is asked afterwards is refused. */
  async close(): Promise<void> {
    await this.#queue.close();
    this.#channel.close();
  }

  async #ask(request: PolicyRequest, obligations: Obligations, signal: AbortSignal): Promise<SecondOpinion> {
    const { deadlineMs, host, sent } = this.#options;
    try {
      const body = evaluationRequest(request, obligations, { ...sent, host: host() });
      const waiting = { share: callerShare(request.caller), timeoutMs: deadlineMs, signal };
      const octets = await this.#queue.run(waiting, (stop) => this.#channel.post(body, stop));
      if (readDecision(octets)) return { permitted: true };
      const refusal = new KeydError(
        'decision_point_denied',
        'the external decision point does not permit it',
      );
      return { permitted: false, refusal };
    } catch (thrown) {
      const error = asKeydError(thrown);
      return { permitted: false, refusal: error.code === 'deadline_exceeded' ? late(deadlineMs) : error };
    }
  }

  /** Once when it begins to fail, once when it answers again: not a line for each request. */
  #tell(opinion: SecondOpinion): void {
    const outcome = outcomeOf(opinion);
    if (outcome === 'withdrawn') return;
    const { log, endpoint } = this.#options;
    const { url, socketPath } = endpoint;
    const failing = outcome === 'failed' && !opinion.permitted ? opinion.refusal : undefined;
    if (failing !== undefined && failing.code !== this.#failing) {
      log.warn(
        { error: failing, url, socketPath },
        'the external decision point does not answer as it should; everything is denied until it does',
      );
    }
    if (failing === undefined && this.#failing !== undefined) {
      log.info({ url, socketPath }, 'the external decision point answers again');
    }
    this.#failing = failing?.code;
  }
}

const WITHDRAWN: ReadonlySet<string> = new Set(['caller_gone', 'shutting_down', 'too_many_requests']);

function outcomeOf(opinion: SecondOpinion): Outcome {
  if (opinion.permitted) return 'permit';
  const { code } = opinion.refusal;
  if (code === 'decision_point_denied') return 'deny';
  return WITHDRAWN.has(code) ? 'withdrawn' : 'failed';
}

function late(deadlineMs: number): KeydError {
  return new KeydError(
    'decision_point_unavailable',
    `the external decision point gave no answer within ${deadlineMs} ms`,
  );
}
