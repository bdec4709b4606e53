# What goturn._cuda and the emulation of it (csrc/emulation) are both made of.

# The operations: every .cu file of this folder but the device queries, which are the CUDA runtime's.
file(GLOB GOTURN_CUDA_SOURCES CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*.cu)
list(REMOVE_ITEM GOTURN_CUDA_SOURCES ${CMAKE_CURRENT_LIST_DIR}/device_info.cu)

# Their bindings.
file(GLOB GOTURN_CUDA_BINDINGS CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/csrc/python/cuda_*.cpp)
