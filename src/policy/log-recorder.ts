import { callerShare } from '../caller/caller.ts';
import type { Logger } from '../base/logger.ts';
import type { Recorder } from './recorder.ts';

/**
 * Writes decisions and outcomes to the log: readable by people, and no more than a log. It is neither
 * durable nor tamper-evident, so that it proves nothing to anyone who does not trust this host.
 */
export function logRecorder(log: Logger): Recorder {
  return {
    decision: (entry) => {
      const { caller, decision, agent } = entry;
      const fields = {
        action: entry.action,
        effect: decision.effect,
        policies: decision.policies,
        policyVersion: decision.policyVersion,
        share: callerShare(caller),
        ingress: caller.ingress.kind,
        uid: caller.uid,
        pid: caller.pid,
        ...(agent === undefined ? {} : { agentId: agent.id, agentName: agent.name, kid: agent.kid }),
        ...(entry.octetsSha256 === undefined ? {} : { octetsSha256: entry.octetsSha256 }),
        ...(entry.refusal === undefined ? {} : { refusal: entry.refusal }),
        parameters: entry.parameters,
      };
      if (decision.effect === 'deny') log.warn(fields, 'denied');
      else log.info(fields, 'permitted');
      return Promise.resolve({
        outcome: (outcome) => {
          const which = {
            action: entry.action,
            ...(agent === undefined ? {} : { agentId: agent.id }),
            ...(entry.octetsSha256 === undefined ? {} : { octetsSha256: entry.octetsSha256 }),
          };
          if (outcome.effect === 'failed')
            log.warn({ ...which, ...outcome }, 'failed after it was permitted');
          else log.debug({ ...which, ...outcome }, 'done');
        },
      });
    },
  };
}
