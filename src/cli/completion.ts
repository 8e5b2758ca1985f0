/** `agentkey completion bash|zsh|fish`: made from the command tree, so it can not go stale. */
import { Argument, type Command } from 'commander';
import type { Streams } from './context.ts';

const SHELLS = ['bash', 'zsh', 'fish'] as const;
type Shell = (typeof SHELLS)[number];

export function addCompletionCommand(program: Command, streams: Streams): void {
  program
    .command('completion')
    .description('Print a completion script for your shell')
    .addArgument(new Argument('<shell>').choices(SHELLS))
    .action((shell: Shell) => {
      streams.out(script(shell, words(program)));
    });
}

/** Command path ("agent create") -> words that may follow. */
function words(program: Command): ReadonlyMap<string, readonly string[]> {
  const result = new Map<string, readonly string[]>();
  const visit = (command: Command, path: string): void => {
    const options = command.options.flatMap(({ long }) => (typeof long === 'string' ? [long] : []));
    result.set(path, [...command.commands.map((child) => child.name()), ...options, '--help']);
    for (const child of command.commands)
      visit(child, path === '' ? child.name() : `${path} ${child.name()}`);
  };
  visit(program, '');
  return result;
}

function script(shell: Shell, tree: ReadonlyMap<string, readonly string[]>): string {
  if (shell === 'fish') {
    return [...tree]
      .map(([path, next]) => {
        const condition = path === '' ? '__fish_use_subcommand' : `__agentkey_at '${path}'`;
        return `complete -c agentkey -f -n "${condition}" -a "${next.join(' ')}"`;
      })
      .join('\n')
      .concat(
        `\nfunction __agentkey_at\n  set -l words (commandline -opc | string match -v -- '-*')\n  test "$words[2..]" = "$argv[1]"\nend\n`,
      );
  }
  const cases = [...tree].map(([path, next]) => `    "${path}") words="${next.join(' ')}" ;;`).join('\n');
  const bash = `_agentkey() {
  local path="" word words=""
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$word" in -*) ;; *) path="\${path:+$path }$word" ;; esac
  done
  case "$path" in
${cases}
  esac
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _agentkey agentkey
`;
  return shell === 'bash' ? bash : `autoload -U +X bashcompinit && bashcompinit\n${bash}`;
}
