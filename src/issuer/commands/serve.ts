/** `serve`: runs until SIGTERM or SIGINT; SIGHUP reloads. */
import type { Logger } from '../../base/logger.ts';
import { asKeydError } from '../../wire/problem.ts';
import { startIssuer } from '../compose.ts';
import type { IssuerConfig } from '../config.ts';

/** Resolves when the issuer has stopped. @throws KeydError where it can not start */
export async function serve(config: IssuerConfig, logger: Logger): Promise<void> {
  const issuer = await startIssuer(config, logger);
  logger.info(
    {
      url: config.url,
      address: config.listen.address,
      port: issuer.port,
      developmentPolicy: config.developmentPolicy?.name,
    },
    'the issuer is ready',
  );
  if (config.developmentPolicy !== undefined) {
    logger.warn(
      { developmentPolicy: config.developmentPolicy.name },
      'a development policy accepts software evidence; its credentials say so',
    );
  }
  const reload = (): void => {
    try {
      issuer.reload();
      logger.info({}, 'hosts, endorsement roots and TLS material were loaded again');
    } catch (thrown) {
      logger.error({ error: asKeydError(thrown) }, 'the reload failed; what was loaded before stays');
    }
  };
  process.on('SIGHUP', reload);
  const signal = await new Promise<string>((resolve) => {
    process.once('SIGTERM', resolve);
    process.once('SIGINT', resolve);
  });
  process.off('SIGHUP', reload);
  logger.info({ signal }, 'the issuer stops');
  await issuer.stop();
}
