version: str
cuda_version: tuple[int, int]
architectures: tuple[str, ...]

def devices() -> list[tuple[str, tuple[int, int], int]]: ...
