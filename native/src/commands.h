// The ESYS commands: each reads its arguments on the JavaScript thread and returns the work that the
// connection's thread does. No policy here: what is asked is what is sent.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "arguments.h"
#include "esys_context.h"
#include "reply.h"

namespace agentkeyd {

class Work {
 public:
  virtual ~Work() = default;
  virtual Reply Run(EsysContext& esys) = 0;
};

template <class F>
std::unique_ptr<Work> MakeWork(F function) {
  class FunctionWork final : public Work {
   public:
    explicit FunctionWork(F f) : function_(std::move(f)) {}
    Reply Run(EsysContext& esys) override { return function_(esys); }

   private:
    F function_;
  };
  return std::make_unique<FunctionWork>(std::move(function));
}

using Prepare = std::unique_ptr<Work> (*)(const Arguments&);
using CommandMap = std::map<std::string, Prepare>;

void AddSystemCommands(CommandMap& commands);
void AddHandleCommands(CommandMap& commands);
void AddObjectCommands(CommandMap& commands);
void AddSignCommands(CommandMap& commands);
void AddAttestCommands(CommandMap& commands);
void AddSessionCommands(CommandMap& commands);
void AddPolicyCommands(CommandMap& commands);
void AddNvCommands(CommandMap& commands);

// Every command by its JavaScript name.
const CommandMap& Commands();

// The key's own scheme, and the ticket of a digest that the TPM did not make.
inline const TPMT_SIG_SCHEME kNullScheme = {TPM2_ALG_NULL, {}};
inline const TPMT_TK_HASHCHECK kNullTicket = {TPM2_ST_HASHCHECK, TPM2_RH_NULL, {}};

}  // namespace agentkeyd
