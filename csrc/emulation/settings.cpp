#include "emulation/settings.h"

#include <cstdlib>
#include <mutex>
#include <stdexcept>
#include <string>

namespace goturn::emulation {
namespace {

unsigned number(const char* name, unsigned otherwise) {
  const char* text = std::getenv(name);
  if (text == nullptr || *text == '\0') return otherwise;
  char* end = nullptr;
  const unsigned long value = std::strtoul(text, &end, 10);
  if (*end != '\0') {
    throw std::runtime_error(std::string(name) + " must be a whole number; got " + text);
  }
  return static_cast<unsigned>(value);
}

std::mutex mutex;

Settings& current() {
  static Settings settings = [] {
    Settings read;
    read.checks = number("GOTURN_EMULATION_CHECKS", 1) != 0;
    read.seed = number("GOTURN_EMULATION_SEED", read.seed);
    read.capability = static_cast<int>(number("GOTURN_EMULATION_CAPABILITY", 90));
    read.truncate = number("GOTURN_EMULATION_TRUNCATE", 0) != 0;
    return read;
  }();
  return settings;
}

}  // namespace

Settings settings() {
  const std::lock_guard<std::mutex> lock(mutex);
  return current();
}

void set_settings(const Settings& settings) {
  const std::lock_guard<std::mutex> lock(mutex);
  current() = settings;
}

}  // namespace goturn::emulation
