// What the files of a module add to it.
#pragma once

#include <pybind11/pybind11.h>

namespace goturn::python {

// goturn::cpu::Tower, and how many threads the operations use.
void bind_tower(pybind11::module_& module);

// The fc layers.
void bind_linear(pybind11::module_& module);

}  // namespace goturn::python
