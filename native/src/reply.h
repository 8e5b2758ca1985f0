// What a command answers: named values, made on the connection's thread, turned into one JavaScript
// object on the JavaScript thread.
#pragma once

#include <napi.h>

#include <utility>
#include <variant>
#include <vector>

#include "handle_table.h"
#include "octets.h"

namespace agentkeyd {

struct NewHandle {
  HandleId id;
  HandleKind kind;
};

class Reply {
 public:
  using Value = std::variant<double, bool, Octets, std::vector<Octets>, NewHandle>;

  // `name` is a string literal.
  Reply&& Add(const char* name, Value value) && {
    values_.emplace_back(name, std::move(value));
    return std::move(*this);
  }

  Napi::Object ToObject(Napi::Env env) const;

 private:
  std::vector<std::pair<const char*, Value>> values_;
};

}  // namespace agentkeyd
