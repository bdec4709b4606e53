// The emulation's settings in Python: goturn._cuda_emulated.set_emulation(...).
#include <pybind11/pybind11.h>

#include "emulation/settings.h"
#include "modules.h"

namespace goturn::python {
namespace {

namespace py = pybind11;

py::dict emulation_settings() {
  const emulation::Settings how = emulation::settings();
  py::dict found;
  found["checks"] = how.checks;
  found["seed"] = how.seed;
  found["capability"] = how.capability;
  found["truncate"] = how.truncate;
  return found;
}

}  // namespace

void bind_emulation(py::module_& module) {
  module.def("emulation_settings", &emulation_settings,
             "The keywords of set_emulation(), as they are.");
  module.def(
      "set_emulation",
      [](bool checks, unsigned seed, int capability, bool truncate) {
        emulation::set_settings({checks, seed, capability, truncate});
      },
      py::kw_only(), py::arg("checks") = true, py::arg("seed") = 1, py::arg("capability") = 90,
      py::arg("truncate") = false,
      "How kernels run from now on: whether accesses to shared memory are followed, the order of "
      "blocks and lanes, the compute capability, whether tensor cores cut off as real ones do.");
}

}  // namespace goturn::python
