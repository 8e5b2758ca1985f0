/** `agentkey completion bash|zsh|fish`: made from the command tree, so it can not go stale. */
import { Argument, type Command, type Option } from 'commander';
import type { Streams } from './context.ts';

const SHELLS = ['bash', 'zsh', 'fish'] as const;
type Shell = (typeof SHELLS)[number];

/** What the scripts know of one command: its path ("agent create"; "" is agentkey itself) and what may follow. */
interface Node {
  readonly path: string;
  readonly subcommands: readonly string[];
  readonly options: readonly Option[];
}

export function addCompletionCommand(program: Command, streams: Streams): void {
  program
    .command('completion')
    .description('Print a completion script for your shell')
    .addArgument(new Argument('<shell>').choices(SHELLS))
    .action((shell: Shell) => {
      const tree = nodes(program, '');
      streams.out(shell === 'fish' ? fish(tree) : shell === 'bash' ? bash(tree) : zsh(tree));
    });
}

function nodes(command: Command, path: string): readonly Node[] {
  const { options, commands } = command;
  const children = commands.flatMap((child) =>
    nodes(child, path === '' ? child.name() : `${path} ${child.name()}`),
  );
  return [{ path, subcommands: commands.map((child) => child.name()), options }, ...children];
}

/**
 * Walks the words before the cursor: an option's value is skipped, a word that names no subcommand is an
 * argument. `--option=value` is three words to bash.
 */
function bash(tree: readonly Node[]): string {
  const global = tree[0]?.options ?? [];
  const all = tree.flatMap(({ options }) => options);
  const words = ({ path, subcommands, options }: Node): string => {
    const offered =
      path === '' ? options : [...options, ...global.filter(({ long }) => long !== '--version')];
    return [...subcommands, ...new Set(offered.flatMap(names)), '--help'].join(' ');
  };
  const paths = tree.filter(({ path }) => path !== '').map(({ path }) => `"${path}"`);
  const choices = all.filter(({ argChoices }) => argChoices !== undefined);
  return `_agentkey() {
  local path="" next word skip="" words="" previous="\${COMP_WORDS[COMP_CWORD-1]}"
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    if [ -n "$skip" ]; then skip=""; continue; fi
    case "$word" in
      ${[...new Set(all.filter(takesValue).flatMap(names))].join('|')}) skip=1; continue ;;
      -*) continue ;;
    esac
    next="\${path:+$path }$word"
    case "$next" in
      ${paths.join('|')}) path="$next" ;;
    esac
  done
  case "$previous" in
${choices.map((option) => `    ${names(option).join('|')}) COMPREPLY=($(compgen -W "${(option.argChoices ?? []).join(' ')}" -- "\${COMP_WORDS[COMP_CWORD]}")); return ;;`).join('\n')}
  esac
  [ -n "$skip" ] && return
  case "$path" in
${tree.map((node) => `    "${node.path}") words="${words(node)}" ;;`).join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _agentkey agentkey
`;
}

function zsh(tree: readonly Node[]): string {
  return `autoload -U +X bashcompinit && bashcompinit\n${bash(tree)}`;
}

function fish(tree: readonly Node[]): string {
  const valued = [...new Set(tree.flatMap(({ options }) => options.filter(takesValue).flatMap(names)))];
  const paths = tree.filter(({ path }) => path !== '').map(({ path }) => `'${path}'`);
  const helper = `function __agentkey_path
  set -l path
  set -l skip 0
  for word in (commandline -opc)[2..]
    if test $skip = 1
      set skip 0
      continue
    end
    switch $word
      case ${valued.join(' ')}
        set skip 1
      case '-*'
      case '*'
        switch (string join ' ' -- $path $word)
          case ${paths.join(' ')}
            set -a path $word
        end
    end
  end
  string join ' ' -- $path
end
`;
  const lines = tree.flatMap(({ path, subcommands, options }) => {
    const at = `complete -c agentkey -n "test (__agentkey_path | string collect -a) = '${path}'"`;
    return [
      ...(subcommands.length === 0 ? [] : [`${at} -f -a "${subcommands.join(' ')}"`]),
      ...options.map((option) => {
        const values = option.argChoices === undefined ? '' : ` -f -a "${option.argChoices.join(' ')}"`;
        const short = option.short === undefined ? '' : ` -s ${option.short.slice(1)}`;
        // Options of agentkey itself are good after every command.
        return `${path === '' ? 'complete -c agentkey' : at} -l ${(option.long ?? '').slice(2)}${short}${takesValue(option) ? ` -r${values}` : ''}`;
      }),
    ];
  });
  return `${helper}${lines.join('\n')}\n`;
}

function takesValue(option: Option): boolean {
  return option.required || option.optional;
}

function names({ long, short }: Option): readonly string[] {
  return [long, short].filter((name) => typeof name === 'string');
}
