// What the files of a module add to it.
#pragma once

#include <pybind11/pybind11.h>

namespace goturn::python {

// goturn::cpu::Tower, and how many threads the operations use.
void bind_tower(pybind11::module_& module);

// The fc layers, and what trains them.
void bind_linear(pybind11::module_& module);
void bind_linear_backward(pybind11::module_& module);

// Convolution and its gradients.
void bind_conv2d(pybind11::module_& module);

// Max pooling and local response normalisation, and their gradients.
void bind_planes(pybind11::module_& module);

// The match of two feature maps, and its gradients.
void bind_match(pybind11::module_& module);

// ReLU, dropout, the losses and the solver's step.
void bind_elementwise(pybind11::module_& module);

// The same of goturn::cuda, on arrays in device memory, and the checks of arguments before them.
void bind_cuda_checks(pybind11::module_& module);
void bind_cuda_conv2d(pybind11::module_& module);
void bind_cuda_layout(pybind11::module_& module);
void bind_cuda_planes(pybind11::module_& module);
void bind_cuda_match(pybind11::module_& module);
void bind_cuda_linear(pybind11::module_& module);
void bind_cuda_linear_backward(pybind11::module_& module);
void bind_cuda_elementwise(pybind11::module_& module);
void bind_cuda_crop_resize(pybind11::module_& module);
void bind_cuda_rows(pybind11::module_& module);

// How the emulation runs; of goturn._cuda_emulated alone.
void bind_emulation(pybind11::module_& module);

}  // namespace goturn::python
