#include "arguments.h"

#include <cmath>

namespace agentkeyd {

namespace {

bool IsOctets(const Napi::Value& value) {
  return value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array;
}

Napi::Object ToObject(const Napi::Value& value) {
  if (!value.IsObject()) throw Napi::TypeError::New(value.Env(), "the arguments must be an object");
  return value.As<Napi::Object>();
}

bool IsHandleId(const Napi::Value& value) {
  if (!value.IsNumber()) return false;
  const double number = value.As<Napi::Number>().DoubleValue();
  return number >= 0 && number <= 9007199254740991.0 && std::floor(number) == number;
}

HandleId ToHandleId(const Napi::Value& value) {
  return static_cast<HandleId>(value.As<Napi::Number>().DoubleValue());
}

}  // namespace

Arguments::Arguments(Napi::Value value) : object_(ToObject(value)) {}

Napi::TypeError Arguments::Wrong(const char* name, const char* rule) const {
  return Napi::TypeError::New(object_.Env(), std::string(name) + " must be " + rule);
}

bool Arguments::Has(const char* name) const { return !Get(name).IsUndefined(); }

std::string Arguments::Text(const char* name) const {
  const Napi::Value value = Get(name);
  if (!value.IsString()) throw Wrong(name, "a string");
  return value.As<Napi::String>().Utf8Value();
}

bool Arguments::Boolean(const char* name) const {
  const Napi::Value value = Get(name);
  if (!value.IsBoolean()) throw Wrong(name, "true or false");
  return value.As<Napi::Boolean>().Value();
}

std::uint64_t Arguments::Uint64(const char* name) const {
  const Napi::Value value = Get(name);
  bool lossless = false;
  const std::uint64_t number = value.IsBigInt() ? value.As<Napi::BigInt>().Uint64Value(&lossless) : 0;
  if (!lossless) throw Wrong(name, "a BigInt of 64 bits without sign");
  return number;
}

double Arguments::Whole(const char* name, double min, double max) const {
  const Napi::Value value = Get(name);
  if (!value.IsNumber()) throw Wrong(name, "a number");
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!(number >= min && number <= max) || std::floor(number) != number) {
    throw Wrong(name, "an integer in its range");
  }
  return number;
}

HandleId Arguments::Handle(const char* name) const {
  const Napi::Value value = Get(name);
  if (!IsHandleId(value)) throw Wrong(name, "a handle");
  return ToHandleId(value);
}

std::optional<HandleId> Arguments::OptionalHandle(const char* name) const {
  if (!Has(name)) return std::nullopt;
  return Handle(name);
}

Sessions Arguments::SessionUses(int authorisations) const {
  Sessions result;
  for (int i = 0; i < authorisations; i++) result[i].fallback = ESYS_TR_PASSWORD;
  const Napi::Value given = Get("sessions");
  if (given.IsUndefined()) return result;
  if (!given.IsArray() || given.As<Napi::Array>().Length() > result.size()) {
    throw Wrong("sessions", "an array of at most three");
  }
  const auto list = given.As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); i++) {
    const Napi::Value item = list.Get(i);
    if (item.IsUndefined()) continue;
    const Arguments use(item);
    result[i].id = use.Handle("session");
    if (use.Has("attributes")) result[i].attributes = use.Number<TPMA_SESSION>("attributes");
  }
  return result;
}

Arguments::Span Arguments::View(const char* name) const {
  const Napi::Value value = Get(name);
  if (!IsOctets(value)) throw Wrong(name, "a Uint8Array");
  const auto octets = value.As<Napi::Uint8Array>();
  return Span{octets.Data(), octets.ByteLength()};
}

std::uint16_t Arguments::CopyOctets(const char* name, bool is_optional, std::uint8_t* buffer,
                                    size_t capacity) const {
  if (is_optional && !Has(name)) return 0;
  const Span octets = View(name);
  if (octets.size > capacity) {
    throw Wrong(name, ("at most " + std::to_string(capacity) + " octets long").c_str());
  }
  if (octets.size > 0) std::memcpy(buffer, octets.data, octets.size);
  return static_cast<std::uint16_t>(octets.size);
}

TPM2B_PUBLIC Arguments::Public(const char* name) const {
  TPM2B_PUBLIC result{};
  result.publicArea = Structure<TPMT_PUBLIC>(name);
  return result;
}

Octets Arguments::Command(const char* name) const {
  constexpr size_t kMin = 14;
  const Span octets = View(name);
  size_t offset = sizeof(UINT16);
  UINT32 size = 0;
  if (octets.size < kMin || octets.size > TPM2_MAX_COMMAND_SIZE ||
      Tss2_MU_UINT32_Unmarshal(octets.data, octets.size, &offset, &size) != TSS2_RC_SUCCESS || size != octets.size) {
    throw Wrong(name, "a whole TPM command with a handle");
  }
  return Octets(octets.data, octets.data + octets.size);
}

TPML_DIGEST Arguments::Digests(const char* name) const {
  const Napi::Value value = Get(name);
  TPML_DIGEST result{};
  constexpr uint32_t kMax = sizeof(result.digests) / sizeof(result.digests[0]);
  if (!value.IsArray() || value.As<Napi::Array>().Length() > kMax) {
    throw Wrong(name, "an array of at most eight digests");
  }
  const auto list = value.As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); i++) {
    const Napi::Value item = list.Get(i);
    if (!IsOctets(item)) throw Wrong(name, "an array of Uint8Array");
    const auto octets = item.As<Napi::Uint8Array>();
    TPM2B_DIGEST& digest = result.digests[result.count++];
    if (octets.ByteLength() > sizeof(digest.buffer)) throw Wrong(name, "an array of digests");
    digest.size = static_cast<UINT16>(octets.ByteLength());
    if (digest.size > 0) std::memcpy(digest.buffer, octets.Data(), digest.size);
  }
  return result;
}

TPML_CC Arguments::CommandCodes(const char* name) const {
  const Napi::Value value = Get(name);
  TPML_CC result{};
  constexpr uint32_t kMax = sizeof(result.commandCodes) / sizeof(result.commandCodes[0]);
  if (!value.IsArray() || value.As<Napi::Array>().Length() > kMax) {
    throw Wrong(name, "an array of command codes");
  }
  const auto list = value.As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); i++) {
    const Napi::Value item = list.Get(i);
    if (!IsHandleId(item) || ToHandleId(item) > 0xffffffff) throw Wrong(name, "an array of numbers");
    result.commandCodes[result.count++] = static_cast<TPM2_CC>(ToHandleId(item));
  }
  return result;
}

}  // namespace agentkeyd
