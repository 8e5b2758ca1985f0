#include "commands.h"

namespace agentkeyd {

const CommandMap& Commands() {
  static const CommandMap commands = [] {
    CommandMap map;
    AddSystemCommands(map);
    AddHandleCommands(map);
    AddObjectCommands(map);
    AddSignCommands(map);
    AddAttestCommands(map);
    AddSessionCommands(map);
    AddPolicyCommands(map);
    AddNvCommands(map);
    return map;
  }();
  return commands;
}

}  // namespace agentkeyd
