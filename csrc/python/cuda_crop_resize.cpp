// crop_resize on the GPU.  What it is to crop is a job, bytes that are made and validated here, in
// host memory, and copied to the device: a captured graph crops whatever job is there when it is
// replayed.
//
// Layout of a job, in this machine's byte order: the Frame (shapes.h) in the first 64 bytes, then a
// CropWindow for each window, 64 bytes each.

#include <cstring>

#include "arguments.h"
#include "cuda/ops.h"
#include "device_arrays.h"
#include "modules.h"

namespace goturn::python {
namespace {

constexpr std::size_t kJobUnit = 64;
static_assert(sizeof(Frame) <= kJobUnit && sizeof(CropWindow) == kJobUnit);

std::size_t job_bytes(std::int64_t count) {
  return kJobUnit * (1 + static_cast<std::size_t>(count));
}

py::array pack_crop_job(const py::object& frame_object, const py::object& windows_object,
                        const py::object& out_object) {
  const auto pixels = device_array_of<std::uint8_t>(frame_object, "crop_resize: frame");
  const Frame frame = frame_of_pixels(pixels);
  const std::vector<CropWindow> windows = windows_of(windows_object, frame);
  const std::size_t bytes = job_bytes(static_cast<std::int64_t>(windows.size()));
  py::array out = out_object.is_none()
                      ? py::array_t<std::uint8_t>(static_cast<py::ssize_t>(bytes))
                      : contiguous_of<std::uint8_t>(out_object, "pack_crop_job: out");
  if (!out.writeable() || static_cast<std::size_t>(out.nbytes()) < bytes) {
    throw std::invalid_argument("pack_crop_job: out must be writeable, of " +
                                std::to_string(bytes) + " bytes or more; got " +
                                std::to_string(out.nbytes()));
  }
  auto* to = static_cast<std::uint8_t*>(out.mutable_data());
  std::memset(to, 0, kJobUnit);
  std::memcpy(to, &frame, sizeof frame);
  if (!windows.empty()) std::memcpy(to + kJobUnit, windows.data(), bytes - kJobUnit);
  return out;
}

// Crops as space to depth, (N, side, side, channels), checked.
cuda::CropLayout layout_of(const std::string& op, const DeviceArray& crops, std::int64_t size,
                           std::int64_t block) {
  if (block < 1 || block > size || crops.shape(3) < 3 * block * block) {
    throw std::invalid_argument(op + ": block must be 1 to size " + std::to_string(size) +
                                ", and crops have 3 block^2 channels or more; got block " +
                                std::to_string(block) + ", crops " + shape_text(crops));
  }
  const std::int64_t side = (size + block - 1) / block;
  check_output(crops, {crops.shape(0), side, side, crops.shape(3)});
  return {static_cast<int>(block), static_cast<int>(crops.shape(3)), type_of(crops)};
}

void crop_resize(const py::object& job_object, const py::object& crops_object, std::int64_t start,
                 std::int64_t size, const py::sequence& mean, const std::string& colour_order,
                 std::int64_t block, std::uintptr_t stream) {
  const auto job = device_contiguous_of<std::uint8_t>(job_object, "crop_resize: job");
  const DeviceArray crops = device_numbers_of(crops_object, "crop_resize: crops");
  const auto parameters = crop_resize_parameters_of(size, mean, colour_order);
  if (crops.ndim() != 4) {
    throw std::invalid_argument("crop_resize: crops have 4 dimensions; got shape " +
                                shape_text(crops));
  }
  const std::int64_t count = crops.shape(0);
  cuda::CropLayout layout;
  if (block == 0) {
    if (!crops.holds<float>()) refuse_type(crops, "float32");
    check_output(crops, {count, 3, size, size});
  } else {
    layout = layout_of("crop_resize", crops, size, block);
  }
  const auto* from = static_cast<const std::uint8_t*>(job.data());
  if (start < 0) {
    throw std::invalid_argument("crop_resize: start must be >= 0; got " + std::to_string(start));
  }
  // As whole windows, so that no sum can overflow.
  const std::int64_t there = job.size() / static_cast<std::int64_t>(kJobUnit) - 1;
  if (there - count < start || reinterpret_cast<std::uintptr_t>(from) % alignof(Frame) != 0) {
    throw std::invalid_argument("crop_resize: job must be of " + std::to_string(count) +
                                " windows or more from number " + std::to_string(start) +
                                " on, at an address that 8 divides; got " +
                                std::to_string(job.size()) + " bytes");
  }
  check_apart({&crops}, {&job});
  const auto* frame = reinterpret_cast<const Frame*>(from);
  const auto* windows = reinterpret_cast<const CropWindow*>(from + kJobUnit) + start;
  const py::gil_scoped_release release;
  cuda::crop_resize(frame, windows, count, parameters, layout, crops.data(), stream_of(stream));
}

void space_to_depth(const py::object& crops_object, const py::object& y_object, std::int64_t block,
                    std::uintptr_t stream) {
  const DeviceArray crops = device_contiguous_of(crops_object, "space_to_depth: crops");
  const DeviceArray y = device_numbers_of(y_object, "space_to_depth: y");
  if (crops.ndim() != 4 || y.ndim() != 4 || crops.shape(1) != 3 || crops.shape(0) != y.shape(0) ||
      crops.shape(2) != crops.shape(3)) {
    throw std::invalid_argument(
        "space_to_depth: crops (N, 3, size, size) and y (N, side, side, channels) have shapes " +
        shape_text(crops) + " and " + shape_text(y));
  }
  const cuda::CropLayout layout = layout_of("space_to_depth", y, crops.shape(2), block);
  check_apart({&y}, {&crops});
  const py::gil_scoped_release release;
  cuda::space_to_depth(crops.shape(0), crops.shape(2), data_of(crops), layout, y.data(),
                       stream_of(stream));
}

}  // namespace

void bind_cuda_crop_resize(py::module_& module) {
  module.def("crop_job_bytes", &job_bytes, py::arg("count"),
             "Bytes of a job with that many windows: 64 each, and 64 for the frame.");
  module.def(
      "pack_crop_job", &pack_crop_job, py::arg("frame"), py::arg("windows"),
      py::arg("out") = py::none(),
      "The job to crop windows (N, 8) int64 out of frame, (H, W, C) uint8 in device memory at "
      "any strides, as uint8 in host memory: in out, or a new array.  The frame's memory must "
      "stay until crop_resize is done.");
  module.def("crop_resize", &crop_resize, py::arg("job"), py::arg("crops"), py::kw_only(),
             py::arg("start") = 0, py::arg("size"), py::arg("mean"), py::arg("colour_order"),
             py::arg("block") = 0, py::arg("stream"),
             "Crops of a packed job in device memory, from window number start on, one for each of "
             "crops: (N, 3, size, size) "
             "float32 where block is 0, else space to depth, (N, side, side, channels) with side = "
             "ceil(size / block) and 3 block^2 channels or more.");
  module.def("space_to_depth", &space_to_depth, py::arg("crops"), py::arg("y"), py::kw_only(),
             py::arg("block"), py::arg("stream"),
             "Crops (N, 3, size, size) float32 as space to depth, y (N, side, side, channels).");
}

}  // namespace goturn::python
