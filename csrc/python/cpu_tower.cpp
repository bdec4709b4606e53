#include "arrays.h"
#include "cpu/kernels.h"
#include "cpu/threads.h"
#include "cpu/tower.h"
#include "modules.h"

namespace goturn::python {
namespace {

using cpu::LayerKind;
using cpu::Tower;
using cpu::TowerLayer;
using cpu::TowerNumbers;

// A layer from a dict: "kind" and its kind's parameters; `keep` holds on to the weights' arrays.
TowerLayer layer_of(const py::dict& given, std::int64_t in_channels, std::vector<py::array>& keep) {
  TowerLayer layer{};
  const auto kind = given["kind"].cast<std::string>();
  const auto integer = [&](const char* key) { return given[key].cast<std::int64_t>(); };
  const auto number = [&](const char* key) { return given[key].cast<float>(); };
  if (kind == "lrn") {
    layer.kind = LayerKind::kLrn;
    layer.size = integer("size");
    layer.alpha = number("alpha");
    layer.beta = number("beta");
    layer.k = number("k");
    return layer;
  }
  layer.kernel = integer("kernel");
  layer.stride = integer("stride");
  if (kind == "max_pool") {
    layer.kind = LayerKind::kMaxPool;
    return layer;
  }
  if (kind != "conv") throw std::invalid_argument("tower: a layer of unknown kind " + kind);
  layer.kind = LayerKind::kConv;
  layer.channels = integer("channels");
  layer.pad = integer("pad");
  layer.groups = integer("groups");
  const py::array weight = contiguous_of<float>(given["weight"], "tower: weight");
  const py::array bias = contiguous_of<float>(given["bias"], "tower: bias");
  if (layer.groups < 1 || layer.groups > in_channels || weight.ndim() != 4 ||
      weight.shape(0) != layer.channels || weight.shape(1) * layer.groups != in_channels ||
      weight.shape(2) != layer.kernel || weight.shape(3) != layer.kernel || bias.ndim() != 1 ||
      bias.shape(0) != layer.channels) {
    throw std::invalid_argument("tower: weight has shape " + shape_text(weight) + " and bias " +
                                shape_text(bias) + ", which do not fit the layer");
  }
  layer.weight = static_cast<const float*>(weight.data());
  layer.bias = static_cast<const float*>(bias.data());
  keep.push_back(weight);
  keep.push_back(bias);
  return layer;
}

TowerNumbers numbers_of(const std::string& name) {
  if (name == "fp32") return TowerNumbers::kFloat;
  if (name == "int16") return TowerNumbers::kInt16;
  throw std::invalid_argument("tower: numbers must be fp32 or int16; got " + name);
}

std::unique_ptr<Tower> make_tower(const py::sequence& given, std::int64_t side,
                                  const std::string& numbers) {
  std::vector<TowerLayer> layers;
  std::vector<py::array> keep;
  std::int64_t channels = 3;
  for (const py::handle& item : given) {
    layers.push_back(layer_of(item.cast<py::dict>(), channels, keep));
    if (layers.back().kind == LayerKind::kConv) channels = layers.back().channels;
  }
  const py::gil_scoped_release release;  // `keep` has the arrays
  return Tower::make(layers, side, numbers_of(numbers));
}

py::array_t<float> run(const Tower& tower, const py::object& object) {
  const py::array crops = contiguous_of<float>(object, "tower: crops");
  if (crops.ndim() != 4 || crops.shape(1) != 3 || crops.shape(2) != tower.side() ||
      crops.shape(3) != tower.side()) {
    const std::string side = std::to_string(tower.side());
    throw std::invalid_argument("tower: crops must be (N, 3, " + side + ", " + side + "); got " +
                                shape_text(crops));
  }
  py::array_t<float> features({crops.shape(0), static_cast<py::ssize_t>(tower.features())});
  const auto* from = static_cast<const float*>(crops.data());
  float* to = features.mutable_data();
  {
    const py::gil_scoped_release release;
    tower.run(from, crops.shape(0), to);
  }
  return features;
}

}  // namespace

void bind_tower(py::module_& module) {
  py::class_<Tower>(module, "Tower", "conv1..pool5 in one call, weights packed at the start.")
      .def(py::init(&make_tower), py::arg("layers"), py::arg("side"), py::arg("numbers") = "fp32")
      .def("__call__", &run, py::arg("crops"),
           "Crops (N, 3, side, side) float32 to features (N, C * H * W) float32.");
  module.def("tower_takes_int16", &cpu::tower_takes_int16,
             "Whether a Tower can multiply whole numbers of 16 bits here.");
  module.def("isa", [] { return cpu::kernels().name; }, "The instruction set in use.");
  module.def("thread_count", &cpu::thread_count, "Threads that work on one call.");
  module.def(
      "set_thread_count",
      [](int count) {
        if (count < 1 || count > cpu::kMaxThreads) {
          throw std::invalid_argument("thread count must be 1 to " +
                                      std::to_string(cpu::kMaxThreads) + "; got " +
                                      std::to_string(count));
        }
        const py::gil_scoped_release release;
        cpu::set_thread_count(count);
      },
      py::arg("count"), "Sets how many threads work on one call.");
}

}  // namespace goturn::python
